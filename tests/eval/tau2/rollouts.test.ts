// tau2-bench as requests of engine.rollouts(): turns, observations and rewards, by an engine that is made to write what recordings hold.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { tau2Rollouts } from "../../../src/eval/tau2/rollouts.js";
import { recordedUser } from "../../../src/eval/tau2/user/recorded.js";
import type { Engine, RolloutSample } from "../../../src/index.js";

const shared = join(import.meta.dirname, "../../../../shared/tau2");

interface Recorded {
  domain: string;
  task_id: string;
  steps: { assistant_text: string; followup?: unknown }[];
  reward: number;
  partial: [number, unknown];
  reset_followup: unknown[];
}

describe.skipIf(!existsSync(shared))("tau2Rollouts (needs ../shared)", () => {
  const golden = join(shared, "golden");
  const data = new Tau2Data(shared);
  const recordings = join(golden, "episodes_train_gold.jsonl");
  const options = {
    directory: shared,
    data,
    domain: "telecom",
    toolSchemas: golden,
    agentPrompt: golden,
  } as const;

  it.each(["reward", "partialScore"] as const)(
    "plays each sample in its own world, to its own %s",
    async (reward) => {
      const user = recordedUser([recordings]);
      const requests = tau2Rollouts({} as Engine, { ...options, user, reward });
      const episodes = readFileSync(recordings, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as Recorded);
      let played = 0;
      for await (const request of requests) {
        const { task_id } = request.metadata as { task_id: string };
        const recorded = episodes.find((one) => one.domain === "telecom" && one.task_id === task_id)!;
        const { messages } = request.prompt as { messages: unknown[] };
        expect(messages.slice(1)).toEqual(recorded.reset_followup);
        // two samples of the group, in turns: neither sees the other's world
        const samples = [0, 1].map((sampleIndex) => ({ sampleIndex, state: {} as Record<string, unknown> }));
        for (const [turns, { assistant_text, followup }] of recorded.steps.entries())
          for (const { sampleIndex, state } of samples) {
            const sample = { sampleIndex, turns: turns + 1, stop: "</tool_call>" } as RolloutSample;
            const context = {
              text: assistant_text.replace(/<\/tool_call>$/, ""),
              toolCalls: [],
              state,
              signal: new AbortController().signal,
            };
            const observation = await request.turn!(sample, context);
            expect(observation).toEqual(followup === undefined ? undefined : { messages: followup });
          }
        for (const { state } of samples) {
          const context = { text: "", toolCalls: [], state, signal: new AbortController().signal };
          const expected = reward === "reward" ? recorded.reward : recorded.partial[0];
          expect(await request.reward!({} as RolloutSample, context)).toBe(expected);
        }
        if (++played === 12) break;
      }
      expect(played).toBe(12);
    },
  );

  it("takes only the tasks that were asked for, of a split that there is", async () => {
    const user = recordedUser([recordings]);
    const ids = [data.domain("telecom").splits.get("test")![0]!];
    const found = [];
    for await (const { metadata } of tau2Rollouts({} as Engine, {
      ...options,
      user,
      split: "test",
      taskIds: ids,
    }))
      found.push(metadata);
    expect(found).toEqual([{ domain: "telecom", task_id: ids[0] }]);
    const refused = (over: object) => tau2Rollouts({} as Engine, { ...options, user, ...over }).next();
    await expect(refused({ split: "tset" })).rejects.toThrow(
      /a split of telecom but received 'tset': did you mean test\?/,
    );
    await expect(refused({ taskIds: [ids[0]] })).rejects.toThrow(
      /a task of telecom's train split but received/,
    );
  });

  it("refuses to go on with a sample whose world is gone", async () => {
    const { value } = await tau2Rollouts({} as Engine, {
      ...options,
      user: recordedUser([recordings]),
    }).next();
    const context = { text: "", toolCalls: [], state: {}, signal: new AbortController().signal };
    await expect(async () => value!.turn!({ turns: 2 } as RolloutSample, context)).rejects.toThrow(
      /cannot be resumed/,
    );
  });
});
