/** Samples as engine.rollouts() yields them, made up. */
import type { RolloutSample } from "../../src/rollout/types.js";

/** Three prompt tokens; a response of two sampled tokens, an observation of one, and a sampled one. */
export function sampleOf(changes: Partial<RolloutSample> = {}): RolloutSample {
  return {
    groupIndex: 3,
    sampleIndex: 2,
    seed: 7,
    prompt: [{ role: "user", content: "Hello." }],
    tokens: [10, 11, 12, 20, 21, 30, 22],
    responseLength: 4,
    text: "Good evening",
    lossMask: [1, 1, 0, 1],
    logprobs: [-0.5, -1, 0, -2],
    temperatureLogprobs: [-0.25, -0.75, 0, -1.5],
    samplingLogprobs: [-0.125, -0.5, 0, -1.25],
    weightVersions: [
      { version: 0, from: 0, to: 3 },
      { version: 4, from: 3, to: 4 },
    ],
    computePath: "portable",
    finishReason: "stop",
    stop: 22,
    turns: 2,
    usage: { promptTokens: 3, completionTokens: 3, cachedTokens: 0 },
    sampling: { temperature: 1 },
    ...changes,
  };
}
