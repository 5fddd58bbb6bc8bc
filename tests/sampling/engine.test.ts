/**
 * The sampling options through a real model: what the engine reports of each token is held against samplingDistribution
 * and a plain float64 reference, both fed with the model's own log probabilities from score().
 */
import { Engine, type Generation, type SamplingOptions, samplingDistribution } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { adjusted, temperatureLogprobs } from "./reference.js";

const kModel = new URL("../../examples/demo/model", import.meta.url).pathname;
const kVocab = 704;
const kStops = [694, 696]; // generation_config.json's eos_token_id
const kPrompt = [695, 82, 88, 274, 68, 76, 198];

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kModel, { threads: 2 });
});
afterAll(() => engine.close());

const generate = (options: SamplingOptions, tokens = kPrompt) =>
  engine.generate({ tokens }, options) as Promise<Generation>;

/** The raw log probabilities [V] before each output token: logits but for a constant, which no option notices… */
async function rawLogprobs(output: readonly number[], prompt = kPrompt): Promise<number[][]> {
  const tokenIds = Array.from({ length: kVocab }, (_, id) => id);
  const score = await engine.score({ tokens: [...prompt, ...output] }, { from: prompt.length, tokenIds });
  return score.tokenIdLogprobs as number[][];
}

const relative = (a: number, b: number) => Math.abs(a - b) / Math.max(1, Math.abs(b));

describe("what is reported of each token", () => {
  // …except the repetition penalty, which scales logits by their sign: it is checked by the goldens.
  const kOptions: SamplingOptions[] = [
    { temperature: 1 },
    { temperature: 0.7, topK: 20, topP: 0.9 },
    { temperature: 1.7, minP: 0.02 },
    { temperature: 1.3, topP: 0.8, presencePenalty: 1.5, frequencyPenalty: 0.4 },
    { temperature: 0, frequencyPenalty: 0.9 },
    { temperature: 1, logitBias: { 10: 5, 11: Number.NEGATIVE_INFINITY, 12: -3 }, topK: 50 },
    { temperature: 2, minTokens: 12, topP: 0.95 },
    { temperature: 1, forcedTokens: [5, 600, 17, 17, 17, 3], presencePenalty: 0.7, topK: 3 },
  ];

  it.each(kOptions)("%o", async (given) => {
    const { temperature, topK, topP, minP } = given;
    const keptTokenIds = [topK, topP, minP].some((filter) => filter !== undefined) || temperature === 0;
    const options = { ...given, seed: 4, maxTokens: 16, logprobs: true, topLogprobs: 4, keptTokenIds };
    const generation = await generate(options);
    const rows = await rawLogprobs(generation.tokens);
    generation.tokens.forEach((token, i) => {
      const output = generation.tokens.slice(0, i);
      const banned =
        i < (options.minTokens ?? 0) ? Object.fromEntries(kStops.map((id) => [id, -Infinity])) : {};
      const { minTokens: _, ...rest } = options;
      const logitBias = { ...(options.logitBias as Record<string, number>), ...banned };
      const probabilities = samplingDistribution(
        rows[i]!,
        { ...rest, logitBias },
        { prompt: kPrompt, output },
      );
      const values = adjusted(rows[i]!, options, { prompt: kPrompt, output }, kStops);
      expect(generation.logprobs![i]).toBe(rows[i]![token]);
      expect(
        relative(
          generation.temperatureLogprobs![i]!,
          temperatureLogprobs(values, options.temperature!)[token]!,
        ),
      ).toBeLessThan(1e-5);
      if (generation.samplingLogprobs![i] === Number.NEGATIVE_INFINITY) {
        expect(options.forcedTokens).toContain(token);
        expect(probabilities[token]).toBe(0);
      } else
        expect(relative(generation.samplingLogprobs![i]!, Math.log(probabilities[token]!))).toBeLessThan(
          1e-5,
        );
      expect(Math.abs(probabilities.reduce((a, b) => a + b) - 1)).toBeLessThan(1e-4);
      const best = [...rows[i]!.entries()].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 4);
      const kept = [...probabilities.keys()].filter((id) => probabilities[id]! > 0);
      expect(generation.keptTokenIds?.[i]).toEqual(keptTokenIds ? kept : undefined);
      expect(generation.topLogprobs![i]).toEqual(best.map(([id, logprob]) => ({ token: id, logprob })));
    });
  });
});

describe("options", () => {
  it("logitBias bans, and forces", async () => {
    const greedy = await generate({ temperature: 0, maxTokens: 1 });
    const first = greedy.tokens[0]!;
    const ban = new Map([[first, Number.NEGATIVE_INFINITY]]);
    expect((await generate({ temperature: 0, maxTokens: 1, logitBias: ban })).tokens[0]).not.toBe(first);
    const forced = await generate({
      temperature: 1,
      seed: 1,
      maxTokens: 8,
      ignoreEos: true,
      logitBias: { 300: 1e6 },
    });
    expect(forced.tokens).toEqual(Array(8).fill(300));
    const all = Object.fromEntries(Array.from({ length: kVocab }, (_, id) => [id, Number.NEGATIVE_INFINITY]));
    for (const temperature of [0, 1])
      await expect(generate({ temperature, logitBias: all })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /^Expected a token to be left to sample after position \d+ but logitBias/,
        ),
      });
    const { 696: _, ...allButEos } = all;
    const biased = { temperature: 0, maxTokens: 2, logitBias: allButEos };
    expect((await generate(biased)).tokens).toEqual([696]);
    await expect(generate({ ...biased, minTokens: 1 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("minTokens"),
    });
    expect((await generate({ temperature: 0, maxTokens: 1 })).tokens).toEqual(greedy.tokens);
  });

  it("minTokens holds back every way of stopping, stop strings included", async () => {
    const biased = { temperature: 0, maxTokens: 20, logitBias: { 696: 100 } };
    expect(await generate(biased)).toMatchObject({ tokens: [696], finishReason: "stop", stop: 696 });
    const held = await generate({ ...biased, minTokens: 7 });
    expect(held.tokens).toHaveLength(8);
    expect(held.tokens.indexOf(696)).toBe(7);
    const free = await generate({ temperature: 0, maxTokens: 30, ignoreEos: true });
    const word = engine.tokenizer.decode([free.tokens[1]!]);
    const stopped = await generate({ temperature: 0, maxTokens: 30, ignoreEos: true, stop: word });
    expect(stopped).toMatchObject({ finishReason: "stop", stop: word });
    expect(stopped.tokens.length).toBeLessThanOrEqual(2);
    expect(
      (await generate({ temperature: 0, maxTokens: 30, ignoreEos: true, stop: word, minTokens: 5 })).tokens
        .length,
    ).toBeGreaterThan(5);
  });

  it("penalties push away what has been said", async () => {
    const repeats = ({ tokens }: Generation) => tokens.length - new Set(tokens).size;
    const plain = await generate({ temperature: 0, maxTokens: 60, ignoreEos: true });
    for (const options of [{ presencePenalty: 100 }, { frequencyPenalty: 100 }, { repetitionPenalty: 100 }])
      expect(
        repeats(await generate({ temperature: 0, maxTokens: 60, ignoreEos: true, ...options })),
        JSON.stringify(options),
      ).toBeLessThan(repeats(plain));
    // Prompt tokens count for the repetition penalty only.
    const prompt = Array.from({ length: 700 }, (_, id) => id % 690);
    const [first] = (await generate({ temperature: 0, maxTokens: 1 }, prompt)).tokens;
    expect((await generate({ temperature: 0, maxTokens: 1, presencePenalty: 100 }, prompt)).tokens[0]).toBe(
      first,
    );
  });

  it("n samples differ, and each is reproduced alone by seed and sampleIndex", async () => {
    const options = {
      temperature: 1.5,
      seed: 77,
      sampleIndex: 3,
      maxTokens: 12,
      ignoreEos: true,
      logprobs: true,
    };
    const samples = (await engine.generate({ tokens: kPrompt }, { ...options, n: 6 })) as Generation[];
    expect(samples.map(({ sampleIndex }) => sampleIndex)).toEqual([3, 4, 5, 6, 7, 8]);
    expect(new Set(samples.map(({ tokens }) => String(tokens))).size).toBe(6);
    for (const { usage: _, ...sample } of samples) {
      const { usage: __, ...alone } = await generate({
        ...options,
        seed: sample.seed,
        sampleIndex: sample.sampleIndex,
      });
      expect(alone).toEqual(sample);
    }
    const nested = (await engine.generate([{ tokens: kPrompt }, { tokens: [1, 2] }], {
      ...options,
      n: 2,
    })) as Generation[][];
    expect(nested.map((row) => row.length)).toEqual([2, 2]);
    expect(nested[0]!.map(({ tokens }) => tokens)).toEqual(samples.slice(0, 2).map(({ tokens }) => tokens));
  });

  it("a drawn seed is reported and gives the same again", async () => {
    const drawn = await generate({ temperature: 2, maxTokens: 12, ignoreEos: true });
    expect(Number.isSafeInteger(drawn.seed)).toBe(true);
    expect(
      (await generate({ temperature: 2, maxTokens: 12, ignoreEos: true, seed: drawn.seed })).tokens,
    ).toEqual(drawn.tokens);
  });

  it("promptLogprobs are score()'s, whatever ends the request", async () => {
    const tokens = randomTokens(randomSource(3), 70, kVocab);
    const { logprobs } = await engine.score({ tokens });
    const options = { temperature: 0, maxTokens: 20, promptLogprobs: true, ignoreEos: true };
    const whole = await generate(options, tokens);
    expect(whole.promptLogprobs).toEqual(logprobs);
    expect(whole.promptLogprobs).toHaveLength(70);
    const word = engine.tokenizer.decode(whole.tokens.slice(0, 2));
    const stopped = await generate({ ...options, maxTokens: 500, stop: word }, tokens);
    expect(stopped.finishReason).toBe("stop");
    expect(stopped.promptLogprobs).toEqual(logprobs);
    const controller = new AbortController();
    let last: Generation | undefined;
    for await (const { generation } of engine.stream(
      { tokens },
      { ...options, maxTokens: 1000, signal: controller.signal },
    )) {
      controller.abort();
      last = generation;
    }
    expect(last).toMatchObject({ finishReason: "abort", promptLogprobs: logprobs });
  });

  it("usage.cachedTokens tells what came from the cache, whatever ends the request", async () => {
    const tokens = randomTokens(randomSource(4), 50, kVocab);
    const options = { temperature: 0, maxTokens: 40, ignoreEos: true };
    const first = await generate(options, tokens);
    expect(first.usage.cachedTokens).toBe(0);
    expect((await generate(options, tokens)).usage.cachedTokens).toBe(48);
    const word = engine.tokenizer.decode(first.tokens.slice(0, 2));
    expect((await generate({ ...options, maxTokens: 500, stop: word }, tokens)).usage.cachedTokens).toBe(48);
    expect((await generate({ ...options, cacheSalt: "mine" }, tokens)).usage.cachedTokens).toBe(0);
    expect((await generate({ ...options, cacheSalt: "mine" }, tokens)).usage.cachedTokens).toBe(48);
  });

  // Known: makeScore() writes 0. Turn into `it` when it hands on what the engine counted.
  it("usage.cachedTokens of a score tells it, too", async () => {
    const tokens = randomTokens(randomSource(6), 50, kVocab);
    await engine.score({ tokens });
    const before = engine.stats().cachedTokens;
    const { usage } = await engine.score({ tokens }, { from: 49 });
    expect(engine.stats().cachedTokens - before).toBe(48);
    expect(usage.cachedTokens).toBe(48);
  });

  it("forcedTokens are taken, counted and reported, and sampling goes on behind them", async () => {
    const free = await generate({ temperature: 1, seed: 5, maxTokens: 20, ignoreEos: true, logprobs: true });
    const forcedTokens = Uint32Array.from(free.tokens.slice(0, 9));
    const forced = await generate({
      temperature: 1,
      seed: 99,
      maxTokens: 20,
      ignoreEos: true,
      logprobs: true,
      forcedTokens,
    });
    expect(forced.tokens.slice(0, 9)).toEqual(free.tokens.slice(0, 9));
    expect(forced.logprobs!.slice(0, 9)).toEqual(free.logprobs!.slice(0, 9));
    const same = await generate({
      temperature: 1,
      seed: 5,
      maxTokens: 20,
      ignoreEos: true,
      logprobs: true,
      forcedTokens,
    });
    expect(same.tokens).toEqual(free.tokens);
    expect((await generate({ temperature: 0, maxTokens: 9, forcedTokens: [1, 696, 2] })).tokens).toEqual([
      1, 696,
    ]);
  });
});

describe("what is sampled follows samplingDistribution", () => {
  it.each<SamplingOptions>([
    { temperature: 1 },
    { temperature: 1.4, topK: 30 },
    { temperature: 1.8, topP: 0.9, minP: 0.01 },
  ])("%o", async (options) => {
    const draws = 4_000;
    const prompt = [55, 300, 21, 7];
    const [logits] = await rawLogprobs([0], prompt);
    const probabilities = samplingDistribution(logits!, options);
    const samples = (await engine.generate(
      { tokens: prompt },
      { ...options, n: draws, seed: 2024, maxTokens: 1 },
    )) as Generation[];
    const counts = new Map<number, number>();
    for (const { tokens } of samples) counts.set(tokens[0]!, (counts.get(tokens[0]!) ?? 0) + 1);
    for (const token of counts.keys()) expect(probabilities[token]).toBeGreaterThan(0);
    // Bins of at least 5 expected draws; the rest together.
    let chi2 = 0;
    let bins = 0;
    let [restExpected, restSeen] = [0, 0];
    for (const [token, probability] of probabilities.entries()) {
      const expected = draws * probability;
      const seen = counts.get(token) ?? 0;
      if (expected >= 5) {
        chi2 += (seen - expected) ** 2 / expected;
        bins += 1;
      } else {
        restExpected += expected;
        restSeen += seen;
      }
    }
    if (restExpected >= 5) {
      chi2 += (restSeen - restExpected) ** 2 / restExpected;
      bins += 1;
    }
    const degrees = bins - 1;
    console.log(`chi-square ${chi2.toFixed(1)} with ${degrees} degrees of freedom`);
    expect(degrees).toBeGreaterThan(3);
    expect(Math.abs(chi2 - degrees) / Math.sqrt(2 * degrees)).toBeLessThan(4); // the seed is fixed: no luck involved
  });
});
