/**
 * A suite and an engine for tests, without a model: what the engine writes is a function of prompt, seed and sample, it takes
 * a while, and half of the attempts succeed. Plain JavaScript, for child processes too.
 */
import { createHash } from "node:crypto";

const kTurns = 3;

/** `bytes`: what a transcript's step is padded to. `broken`: status by task id. */
export function countingDomain({ tasks = 8, bytes = 0, name = "counting", note } = {}) {
  return {
    name,
    splits: ["test", "train"],
    defaults: { split: "test", maxSteps: 10, sampling: { temperature: 1 } },
    tasks: (split) => Array.from({ length: tasks }, (_, i) => ({ id: `${split}-${i}` })),
    start(task, { sample }) {
      let conversation = [{ role: "user", content: `${task.id} of ${name}` }];
      let written = "";
      return {
        first: { conversation, observation: conversation },
        step(text) {
          written += text;
          if (conversation.length === kTurns) {
            const success = Number.parseInt(text, 16) % 2 === 0;
            return {
              ...{ status: "completed", success, partialScore: Number(success), error: null },
              partialComponents: { half: 0.5 },
              rewardInfo: { task: task.id, sample, written },
              userUsage: { tokens: 2 },
            };
          }
          const observation = [{ role: "tool", content: "go on".padEnd(bytes, ".") }];
          conversation = [...conversation, ...observation];
          return { conversation, observation };
        },
        end: (status) => ({ status, success: false }),
      };
    },
    describe: () => ({ tasks, note }),
  };
}

/** `delay()`: milliseconds of an answer. */
export function countingEngine({ delay = () => 0 } = {}) {
  const engine = {
    ...{ computePath: "none", maxContext: 100, running: 0, most: 0, calls: 0 },
    async generate({ messages } = {}, { seed, sampleIndex } = {}) {
      if (messages === undefined) return []; // the check of the options
      engine.calls += 1;
      engine.most = Math.max(engine.most, ++engine.running);
      await new Promise((resolve) => setTimeout(resolve, delay()));
      --engine.running;
      const text = createHash("sha256")
        .update(JSON.stringify([messages, seed, sampleIndex]))
        .digest("hex")
        .slice(0, 8);
      const usage = { promptTokens: messages.length, completionTokens: 1, cachedTokens: engine.most % 2 };
      return { text, tokens: [1], finishReason: "stop", usage };
    },
  };
  return engine;
}
