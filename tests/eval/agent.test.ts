/** One attempt against scripted engines and episodes: how each of them can end. */
import { expect, it } from "vitest";
import { LockstepError } from "../../src/errors.js";
import { type AttemptOptions, type EvalEngine, playAttempt } from "../../src/eval/agent.js";
import type { Domain, Episode, Turn } from "../../src/eval/domain.js";

const observation = [{ role: "user", content: "well?" }];
const turn: Turn = { conversation: observation, observation };
const answer = {
  text: "so",
  tokens: [1],
  finishReason: "stop",
  usage: { promptTokens: 3, completionTokens: 2, cachedTokens: 1 },
};

const domainOf = (episode: Partial<Episode> | (() => Episode | Promise<Episode>)): Domain => ({
  name: "d",
  splits: ["test"],
  tasks: () => [],
  start: () =>
    typeof episode === "function"
      ? episode()
      : { first: turn, step: () => turn, end: (status) => ({ status, success: false }), ...episode },
  describe: () => ({}),
});
const engineOf = (generate: (...call: never[]) => unknown): EvalEngine =>
  ({ generate: async (...call: never[]) => generate(...call) }) as unknown as EvalEngine;
const play = (
  episode: Parameters<typeof domainOf>[0],
  engine = engineOf(() => answer),
  options: Partial<AttemptOptions> = {},
) => playAttempt(engine, domainOf(episode), { id: "t" }, options);
const failing = (code: LockstepError["code"]) =>
  engineOf(() => {
    throw new LockstepError(code, `no ${code}`);
  });

it("fills in what a domain leaves out", async () => {
  let steps = 0;
  const step = () => (++steps === 2 ? { status: "completed", success: true } : turn);
  expect(await play({ step })).toEqual({
    outcome: {
      ...{ status: "completed", success: true, reward: 1, partialScore: 1, partialComponents: {} },
      ...{ steps: 2, error: null, rewardInfo: {}, userUsage: {} },
      transcript: {
        reset_followup: observation,
        steps: [{ assistant_text: "so", followup: observation }, { assistant_text: "so" }],
      },
    },
    usage: { promptTokens: 6, completionTokens: 4, cachedTokens: 2 },
  });
});

it("asks for each turn with the attempt's seed and sample, the turn's sampling over the run's", async () => {
  const calls: unknown[] = [];
  const engine = engineOf((...call) => {
    calls.push(call);
    return answer;
  });
  const first = { ...turn, tools: [{}], enableThinking: false, sampling: { temperature: 0 } };
  const step = () => ({ status: "completed", success: false });
  await play({ first, step }, engine, { seed: 5, sample: 2, sampling: { temperature: 1, topK: 20 } });
  expect(calls).toEqual([
    [
      { messages: observation, tools: [{}], enableThinking: false },
      { temperature: 0, topK: 20, seed: 5, sampleIndex: 2, signal: expect.any(AbortSignal) },
    ],
  ]);
});

it.each<[string, ReturnType<typeof play> | (() => ReturnType<typeof play>), object]>([
  [
    "no turn",
    () => play({ first: { status: "user_error", success: false } }),
    { status: "user_error", steps: 0 },
  ],
  ["no step left", () => play({}, undefined, { maxSteps: 3 }), { status: "truncated", steps: 3 }],
  [
    "an aborted request",
    () =>
      play(
        {},
        engineOf(() => ({ ...answer, finishReason: "abort" })),
      ),
    { status: "aborted", steps: 0 },
  ],
  [
    "a prompt too long",
    () => play({}, failing("PROMPT_TOO_LONG")),
    { status: "context_overflow", steps: 0, error: null },
  ],
  [
    "logits that are not finite",
    () => play({}, failing("NON_FINITE_LOGITS")),
    { status: "engine_error", error: "no NON_FINITE_LOGITS" },
  ],
  [
    "a domain that throws",
    () =>
      play({
        step: () => {
          throw new Error("oh");
        },
      }),
    { status: "environment_error", error: "oh", steps: 1 },
  ],
  [
    "a domain that rejects",
    () => play({ step: () => Promise.reject("no") }),
    { status: "environment_error", error: "no" },
  ],
  [
    "a start that throws",
    () =>
      play(() => {
        throw new Error("oh");
      }),
    { status: "environment_error", error: "oh", steps: 0 },
  ],
  [
    "an end that throws",
    () =>
      play(
        {
          end: () => {
            throw new Error("oh");
          },
        },
        undefined,
        { maxSteps: 1 },
      ),
    { status: "environment_error", error: "oh" },
  ],
])("has a status for %s", async (_, attempt, expected) => {
  const { outcome } = await (attempt as () => ReturnType<typeof play>)();
  expect(outcome).toMatchObject({ success: false, reward: 0, ...expected });
});

it("does not count repairs as steps", async () => {
  const asked: number[] = [];
  let answers = 0;
  const step = () => {
    asked.push(++answers);
    return { ...turn, repair: answers % 2 === 1 };
  };
  const { outcome } = await play({ step }, undefined, { maxSteps: 3 });
  expect(outcome).toMatchObject({ status: "truncated", steps: 3 });
  expect(asked).toHaveLength(6); // the last step's repair, too
});

it.each(["ENGINE_FAILED", "ENGINE_CLOSED", "OUT_OF_MEMORY", "QUEUE_FULL"] as const)(
  "rejects with %s, which says nothing about the attempt",
  async (code) => {
    await expect(play({}, failing(code))).rejects.toMatchObject({ code });
  },
);

it("ends with the signal, also where a domain never settles", async () => {
  const controller = new AbortController();
  const never = play({ step: () => new Promise<never>(() => {}) }, undefined, { signal: controller.signal });
  setTimeout(() => controller.abort("enough"), 20);
  await expect(never).rejects.toBe("enough");
  await expect(play({}, undefined, { signal: controller.signal })).rejects.toBe("enough");
});
