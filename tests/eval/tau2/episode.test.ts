// What the agent writes and what comes of it, in every way an attempt can end. Needs the benchmark's data.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isOutcome, type Outcome, type Turn } from "../../../src/eval/domain.js";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { replay } from "../../../src/eval/tau2/replay.js";
import { tau2Domain } from "../../../src/eval/tau2/tau2.js";
import { scriptedUser } from "../../../src/eval/tau2/user/scripted.js";
import type { UserReply } from "../../../src/eval/tau2/user/user.js";

const shared = join(import.meta.dirname, "../../../../shared/tau2");

const call = (name: string, args: object = {}) =>
  `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`;
const respond = (content: string) => call("respond", { content });

describe.skipIf(!existsSync(shared))("an attempt (needs ../shared)", () => {
  const data = new Tau2Data(shared);
  const golden = join(shared, "golden");

  /** Plays texts one after the other; the user says the replies in turn, "fine" at the end. */
  async function play(
    texts: string[],
    {
      domain = "airline" as "airline" | "telecom",
      task = 0,
      replies = ["hello"] as (UserReply | string)[],
      maxSteps = 100,
    } = {},
  ): Promise<{ turns: Turn[]; outcome: Outcome | undefined }> {
    const user = scriptedUser((_role, turn) => {
      const reply = replies[turn] ?? "fine";
      return typeof reply === "string" ? { text: reply } : reply;
    });
    const suite = tau2Domain({
      directory: shared,
      data,
      domain,
      toolSchemas: golden,
      agentPrompt: golden,
      user,
    });
    const context = { sample: 0, seed: 1, maxSteps, signal: new AbortController().signal };
    const episode = await suite.start(suite.tasks("train")[task]!, context);
    const turns: Turn[] = [];
    let next: Turn | Outcome = episode.first;
    for (const text of texts) {
      if (isOutcome(next)) break;
      turns.push(next);
      next = await episode.step(text, { finishReason: "stop", tokens: [] });
    }
    if (!isOutcome(next)) turns.push(next);
    return { turns, outcome: isOutcome(next) ? next : undefined };
  }

  it("begins with the prompt and the user's words, and keeps what stops a turn", async () => {
    const { turns } = await play([]);
    expect(turns[0]!.conversation.map(({ role }) => role)).toEqual(["system", "user"]);
    expect(turns[0]!.conversation[1]!.content).toBe("hello");
    expect(turns[0]!.sampling).toEqual({ stop: ["</tool_call>"], includeStop: true });
  });

  it("gives results back under the call's own text, and replies as they are", async () => {
    const { turns } = await play(
      [call("get_flight_status", { flight_number: "HAT001", date: 5 }), `  ${respond("hm")}\n`],
      {
        replies: ["hello", "first line\nsecond"],
      },
    );
    expect(turns[1]!.observation).toEqual([
      {
        role: "user",
        content:
          "Tool result for get_flight_status(flight_number='HAT001', date=5):\nError: Flight HAT001 not found on date 5",
      },
    ]);
    expect(turns[2]!.observation).toEqual([{ role: "user", content: "first line" }]);
    expect(turns[2]!.conversation.at(-2)).toEqual({ role: "assistant", content: respond("hm") });
  });

  it("asks once more, greedily, where the text is no action, and both texts stay", async () => {
    const { turns, outcome } = await play(["what?", call("done")]);
    expect(turns[1]).toMatchObject({
      repair: true,
      sampling: { temperature: 0, stop: ["</tool_call>"], includeStop: true },
    });
    expect(turns[1]!.conversation.slice(-2).map(({ role }) => role)).toEqual(["assistant", "user"]);
    expect(outcome).toMatchObject({ status: "completed", steps: 1 });
    expect(outcome!.transcript).toMatchObject({ unparsed: [{ step: 0, text: "what?" }] });
  });

  it.each<[string, string[], Partial<Outcome>]>([
    [
      "a second text that is none",
      ["what?", "<tool_call>{}"],
      { status: "parse_error", steps: 1, error: "Missing <tool_call>...</tool_call> block" },
    ],
    ["an empty text to the repair", [respond("a"), "x", ""], { status: "parse_error", steps: 2 }],
    [
      "an empty text",
      [respond("a"), " \u00a0\n"],
      { status: "empty_generation", steps: 1, error: "empty_generation" },
    ],
    [
      "a blank respond",
      [respond(" ")],
      { status: "invalid_respond", steps: 1, error: "respond requires a non-empty content string" },
    ],
    ["a respond without content", [call("respond")], { status: "invalid_respond", steps: 1 }],
    ["done", [call("done")], { status: "completed", steps: 1 }],
    ["a respond that says done()", [respond("done()")], { status: "completed", steps: 1 }],
    [
      "ten errors",
      Array<string>(12).fill(call("nothing")),
      { status: "completed", steps: 10, success: false, reward: 0 },
    ],
    [
      "a calculation without end",
      [call("calculate", { expression: "9**9**9" }), call("done")],
      { status: "completed", steps: 2 },
    ],
  ])("ends after %s", async (_what, texts, expected) => {
    const { outcome } = await play(texts);
    expect(outcome).toMatchObject(expected);
  });

  it("ends after a hundred hops, ungraded", async () => {
    const { outcome } = await play(Array<string>(200).fill(respond("and?")));
    expect(outcome).toMatchObject({
      status: "completed",
      success: false,
      steps: 50,
      transcript: { termination_reason: "max_steps" },
    });
    expect((outcome!.rewardInfo as { info: unknown }).info).toEqual({
      note: "Simulation terminated prematurely. Termination reason: max_steps",
    });
  });

  it("counts fewer hops where fewer steps are asked for", async () => {
    const { outcome } = await play(Array<string>(50).fill(respond("and?")), { maxSteps: 20 });
    expect(outcome).toMatchObject({ steps: 10, transcript: { termination_reason: "max_steps" } });
  });

  it("leaves an agent nothing to see whose user stops at once", async () => {
    const { turns, outcome } = await play([respond("hello?")], { replies: ["###STOP###"] });
    expect(turns[0]!.conversation[1]!.content).toBe("[no_observation]");
    expect(outcome).toMatchObject({ status: "completed", reward: 0, rewardInfo: {}, steps: 1 });
  });

  it("grades where the user stops", async () => {
    const { outcome } = await play([respond("bye")], { replies: ["hello", "ok ###TRANSFER###"] });
    expect(outcome!.transcript).toMatchObject({ termination_reason: "user_stop" });
    expect(outcome!.rewardInfo).toMatchObject({ reward_basis: ["DB", "COMMUNICATE"] });
  });

  it.each<[string, UserReply | string]>([
    ["says nothing", " "],
    ["has neither words nor calls", {}],
  ])("ends as user_error where the user %s", async (_what, reply) => {
    expect((await play([], { replies: [reply] })).outcome).toMatchObject({ status: "user_error", steps: 0 });
    const later = await play([respond("hello?")], { replies: ["hi", reply] });
    expect(later.outcome).toMatchObject({
      status: "user_error",
      success: false,
      reward: 0,
      rewardInfo: {},
      steps: 1,
    });
  });

  it("makes the user's calls, several in a message among them, and replays all of it from its transcript", async () => {
    const look = { name: "check_status_bar", arguments: new Map() };
    const { turns, outcome } = await play(
      [call("get_customer_by_id", { customer_id: "C1001" }), respond("look"), respond("again"), call("done")],
      {
        domain: "telecom",
        replies: [
          { toolCalls: [look] },
          "hello",
          { toolCalls: [look, { name: "no_such", arguments: new Map() }], text: "unheard" },
          "done so",
        ],
      },
    );
    expect(turns[2]!.observation).toEqual([{ role: "user", content: "done so" }]);
    const record = outcome!.transcript as {
      steps: { user_script: unknown }[];
      user_script: unknown;
      trajectory: unknown[];
    };
    expect(record.user_script).toEqual([["check_status_bar", {}]]);
    expect(record.steps[1]!.user_script).toEqual([
      [
        ["check_status_bar", {}],
        ["no_such", {}],
      ],
      "done so",
    ]);
    expect(await replay(`${JSON.stringify(record)}\n`, data)).toEqual({
      records: 1,
      steps: 4,
      mismatches: [],
    });
  });

  it("says what it was ended from outside by", async () => {
    const user = scriptedUser(() => ({ text: "hello" }));
    const suite = tau2Domain({ directory: shared, data, domain: "airline", toolSchemas: golden, user });
    const context = { sample: 0, seed: 1, maxSteps: 100, signal: new AbortController().signal };
    const episode = await suite.start(suite.tasks("train")[0]!, context);
    await episode.step(respond("a"), { finishReason: "stop", tokens: [] });
    expect(episode.end("context_overflow")).toMatchObject({
      status: "context_overflow",
      success: false,
      steps: 1,
      reward: 0,
    });
    expect(suite.describe()).toMatchObject({
      comparable: false,
      note: expect.stringContaining("not comparable with published numbers"),
    });
  });
});
