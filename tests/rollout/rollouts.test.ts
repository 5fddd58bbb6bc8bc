/** Single-turn rollouts: groups, seeds, feeding and its bounds, leaving and aborting, sources that fail. */
import { Engine } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { collect, faults, kChat, kDemoModel, whatCounts } from "./support.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1, maxSequences: 16 });
});
afterAll(() => engine.close());

const kShort = { sampling: { temperature: 1, maxTokens: 24 } };

describe("a group", () => {
  it("has n different texts, and is the same set whenever its seed is given", async () => {
    const request = { prompt: kChat, n: 8, sampling: { seed: 11 }, metadata: { task: "a" } };
    const samples = await collect(engine.rollouts([request], kShort));
    expect(new Set(samples.map(({ text }) => text)).size).toBe(8);
    expect(samples.map(({ sampleIndex }) => sampleIndex)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (const sample of samples) {
      expect(faults(sample)).toEqual([]);
      expect(sample).toMatchObject({ seed: 11, metadata: { task: "a" }, turns: 1, prompt: kChat.messages });
      expect(sample.computePath).toBe(engine.computePath);
    }
    const again = await collect(engine.rollouts([request, request], kShort));
    expect(again.slice(0, 8).map(whatCounts)).toEqual(samples.map(whatCounts));
    expect(again.slice(8).map(whatCounts)).toEqual(samples.map(whatCounts));
  });

  it("is what generate gives for the seed", async () => {
    const [sample] = await collect(engine.rollouts([{ prompt: kChat, n: 1 }], kShort));
    const { seed } = sample!;
    const options = { ...kShort.sampling, seed, logprobs: true };
    const generation = await engine.generate(kChat, options);
    expect(sample).toMatchObject({
      tokens: [...sample!.tokens.slice(0, -sample!.responseLength), ...generation.tokens],
      logprobs: generation.logprobs,
      temperatureLogprobs: generation.temperatureLogprobs,
      samplingLogprobs: generation.samplingLogprobs,
      text: generation.text,
      usage: { promptTokens: generation.usage.promptTokens },
    });
  });

  it("reproduces each sample alone from what the sample says", async () => {
    const sampling = { temperature: 1.2, topK: 50, stop: ["e "], logitBias: { 5: -Infinity, 82: 1.5 } };
    const options = {
      sampling: { ...sampling, maxTokens: 24, frequencyPenalty: 0.3 },
      maxResponseTokens: 20,
    };
    const samples = await collect(engine.rollouts([{ prompt: kChat, n: 4 }], options));
    for (const { seed, sampleIndex, prompt, sampling, ...sample } of JSON.parse(JSON.stringify(samples))) {
      const request = { prompt: { messages: prompt }, sampling: { ...sampling, seed, sampleIndex } };
      const [alone] = await collect(
        engine.rollouts([request], { maxResponseTokens: sample.maxResponseTokens }),
      );
      expect(whatCounts(alone!)).toEqual(whatCounts({ ...sample, seed, sampleIndex, prompt, sampling }));
    }
  });

  it("draws a seed of its own, or takes its place in the run's", async () => {
    const two = [{ prompt: kChat }, { prompt: kChat }];
    const [a, b] = await collect(engine.rollouts(two, kShort));
    expect(a!.seed).not.toBe(b!.seed);
    const [c, d] = await collect(engine.rollouts(two, { ...kShort, seed: 2 ** 53 - 1 }));
    expect([c!.seed, d!.seed]).toEqual([2 ** 53 - 1, 0]);
    expect(c!.text).not.toBe(d!.text);
  });
});
