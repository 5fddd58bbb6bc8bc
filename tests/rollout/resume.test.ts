/** Going on from interrupted samples: the same bits as without the interruption, wherever it fell. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Engine, type RolloutOptions, type RolloutSample, type TurnCallback } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { homeRequest, kTasks } from "./home.js";
import { collect, faults, kDemoModel, until, whatCounts } from "./support.js";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1 });
});
afterAll(() => engine.close());

const { prompt } = homeRequest(kTasks[0]!);
const say: TurnCallback = ({ turns }) =>
  turns < 3 ? { messages: [{ role: "user", content: "Go on." }] } : null;
const kPenalties = { minTokens: 3, repetitionPenalty: 1.1, presencePenalty: 0.2, frequencyPenalty: 0.1 };

async function play(options: RolloutOptions, seed = 5): Promise<RolloutSample> {
  const [sample] = await collect(engine.rollouts([{ prompt }], { seed, ...options }));
  expect(sample!.error).toBeUndefined();
  return sample!;
}

/** The sample as an abort after `length` response tokens would have left it, through JSON. */
function cut(sample: RolloutSample, length: number): RolloutSample {
  const { stop: _stop, reward: _reward, ...rest } = sample;
  const lossMask = sample.lossMask.slice(0, length);
  const partial: RolloutSample = {
    ...rest,
    tokens: sample.tokens.slice(0, sample.tokens.length - sample.responseLength + length),
    responseLength: length,
    lossMask,
    logprobs: sample.logprobs.slice(0, length),
    temperatureLogprobs: sample.temperatureLogprobs.slice(0, length),
    samplingLogprobs: sample.samplingLogprobs.slice(0, length),
    ...(sample.keptTokenIds && { keptTokenIds: sample.keptTokenIds.slice(0, length) }),
    weightVersions: length > 0 ? [{ version: 0, from: 0, to: length }] : [],
    finishReason: "abort",
    turns: lossMask.filter((mask, i) => mask === 1 && lossMask[i - 1] !== 1).length,
    usage: { promptTokens: 0, completionTokens: lossMask.filter(Boolean).length, cachedTokens: 0 },
  };
  return JSON.parse(JSON.stringify(partial));
}

/** Where an abort may fall: not inside an observation. */
const cuts = ({ lossMask, responseLength }: RolloutSample): number[] =>
  Array.from({ length: responseLength }, (_, k) => k).filter(
    (k) => k === 0 || lossMask[k - 1] || lossMask[k],
  );

describe("a sample that was interrupted", () => {
  const kCases: [string, RolloutOptions][] = [
    ["one turn", { sampling: { temperature: 1, maxTokens: 40, ignoreEos: true } }],
    [
      "penalties and a stop string",
      { sampling: { temperature: 1.3, stop: ["ti"], maxTokens: 60, ...kPenalties } },
    ],
    ["three turns", { sampling: { temperature: 0.9, maxTokens: 60 }, turn: say }],
    ["three turns with penalties", { sampling: { temperature: 1, maxTokens: 60, ...kPenalties }, turn: say }],
    ["kept ids", { sampling: { topK: 4, maxTokens: 60, keptTokenIds: true }, turn: say }],
    ["a budget", { sampling: { temperature: 0.9 }, turn: say, maxResponseTokens: 50 }],
  ];
  it.each(kCases)("becomes what it would have been: %s", async (_, options) => {
    const whole = await play(options);
    const { turn } = options;
    const places = cuts(whole).filter((k, i) => i % 3 === 0 || whole.lossMask[k] !== whole.lossMask[k - 1]);
    expect(places.length).toBeGreaterThan(8);
    const partials = places.map((k) => cut(whole, k));
    const { generatedTokens } = engine.stats();
    const resumed = await Promise.all(partials.map((partial) => engine.resume(partial, turn && { turn })));
    // Nothing is sampled twice; behind a stop string the engine may run on for a step or two.
    const sampled = (sample: RolloutSample): number => sample.usage.completionTokens;
    const missing = partials.reduce((sum, partial) => sum + sampled(whole) - sampled(partial), 0);
    expect(engine.stats().generatedTokens - generatedTokens).toBeLessThanOrEqual(missing + 2 * places.length);
    for (const [i, sample] of resumed.entries()) {
      expect(faults(sample), `cut at ${places[i]}`).toEqual([]);
      expect(whatCounts(sample), `cut at ${places[i]}`).toEqual(whatCounts(whole));
    }
  });

  it("by abort, wherever that finds it, more than once", async () => {
    const options = {
      sampling: { temperature: 1, ignoreEos: true, stop: ["ee"], maxTokens: 300 },
      turn: say,
    };
    const seeds = [1, 2, 3, 4, 5, 6];
    const wholes = await Promise.all(seeds.map((seed) => play(options, seed)));
    const requests = seeds.map((seed) => ({ prompt, sampling: { seed } }));
    const run = engine.rollouts(requests, options);
    const { generatedTokens } = engine.stats();
    await until(() => engine.stats().generatedTokens > generatedTokens + 100, "they run");
    await run.abort();
    let samples = await collect(run);
    expect(samples.filter(({ finishReason }) => finishReason === "abort").length).toBeGreaterThan(2);
    for (let round = 0; round < 3; ++round) {
      const controller = new AbortController();
      const more = { turn: say, signal: controller.signal };
      const resumed = samples.map((sample) => engine.resume(JSON.parse(JSON.stringify(sample)), more));
      const before = engine.stats().generatedTokens;
      if (round < 2) {
        await until(() => engine.stats().generatedTokens > before + 60, "they run again");
        controller.abort();
      }
      samples = await Promise.all(resumed);
    }
    for (const [i, sample] of samples.entries()) {
      expect(faults(sample)).toEqual([]);
      expect(whatCounts(sample)).toEqual(whatCounts(wholes[i]!));
    }
  });

  it("goes on in another process", async () => {
    const whole = await play({ sampling: { temperature: 0.9, maxTokens: 60 }, turn: say });
    const partial = cut(whole, cuts(whole).at(-20)!);
    const script = fileURLToPath(new URL("./children/resume.mjs", import.meta.url));
    const { stdout } = spawnSync(process.execPath, [script, kDemoModel], { input: JSON.stringify(partial) });
    expect(whatCounts(JSON.parse(stdout.toString()))).toEqual(whatCounts(whole));
  });

  it("while the environment was asked asks it again, with what the model said", async () => {
    const whole = await play({ sampling: { temperature: 0.9, stop: ["{"], maxTokens: 60 }, turn: say });
    const said: string[] = [];
    const run = engine.rollouts([{ prompt, sampling: { seed: whole.seed } }], {
      sampling: { temperature: 0.9, stop: ["{"], maxTokens: 60 },
      turn: (_, { text }) => {
        said.push(text);
        return new Promise(() => {});
      },
    });
    await until(() => said.length === 1, "the environment is asked");
    await run.abort();
    const partial = (await run.next()).value!;
    expect(partial).toMatchObject({ finishReason: "abort", stop: "{", turns: 1 });
    const { generatedTokens } = engine.stats();
    const over = await engine.resume(partial, { turn: (_, { text }) => void said.push(text) });
    expect(said[1]).toBe(said[0]);
    expect(over).toMatchObject({ finishReason: "stop", tokens: partial.tokens });
    expect(engine.stats().generatedTokens).toBe(generatedTokens);
    expect(whatCounts(await engine.resume(partial, { turn: say }))).toEqual(whatCounts(whole));
  });
});

describe("a sample that is over", () => {
  it("gets the reward that it lacks, and nothing else", async () => {
    for (const options of [{ maxResponseTokens: 20 }, { turn: say }]) {
      const reward = () => Promise.reject(new Error("the judge is out"));
      const [failed] = await collect(engine.rollouts([{ prompt, reward }], { ...options, seed: 5 }));
      expect(failed).toMatchObject({ error: { code: "CALLBACK_FAILED" } });
      const texts: string[] = [];
      const resumed = await engine.resume(JSON.parse(JSON.stringify(failed)), {
        turn: () => expect.unreachable(),
        reward: (sample, { text }) => texts.push(text, sample.finishReason),
      });
      const { error: _error, ...rest } = failed!;
      expect(resumed).toEqual({ ...rest, reward: 2 });
      expect(failed!.text.endsWith(texts[0]!)).toBe(true);
      expect(texts[1]).toBe(failed!.finishReason);
      expect(await engine.resume(resumed, { reward: () => expect.unreachable() })).toEqual(resumed);
    }
  });
});

describe("a sample that never began", () => {
  it("is encoded from its prompt", async () => {
    const whole = await play({ sampling: { temperature: 1, maxTokens: 20 } });
    const { tokens: _tokens, ...rest } = cut(whole, 0);
    expect(whatCounts(await engine.resume({ ...rest, tokens: [] }))).toEqual(whatCounts(whole));
    expect(await engine.resume({ ...rest, tokens: [], prompt: "" }).catch((error) => error)).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });
});

describe("resume refuses", () => {
  let whole: RolloutSample;
  beforeAll(async () => {
    whole = cut(await play({ sampling: { temperature: 1, maxTokens: 20 } }), 10);
  });
  const kBad: [string, (sample: RolloutSample) => unknown, RegExp][] = [
    ["what is no sample", () => 7, /a sample of engine.rollouts\(\) for sample/],
    ["tokens that are none", (sample) => ({ ...sample, tokens: "abc" }), /sample\.tokens/],
    [
      "ids beyond the vocabulary",
      ({ tokens, ...rest }) => ({ ...rest, tokens: [...tokens.slice(1), 9e5] }),
      /sample\.tokens\[/,
    ],
    [
      "a response without a prompt",
      (sample) => ({ ...sample, responseLength: sample.tokens.length }),
      /sample\.responseLength/,
    ],
    [
      "a mask that is too short",
      (sample) => ({ ...sample, lossMask: [1] }),
      /10 items \(responseLength\) for sample\.lossMask/,
    ],
    [
      "a mask of something else",
      (sample) => ({ ...sample, lossMask: sample.lossMask.map(() => 2) }),
      /sample\.lossMask\[0\]/,
    ],
    [
      "logprobs that are none",
      (sample) => ({ ...sample, logprobs: sample.logprobs.map(() => null) }),
      /sample\.logprobs\[0\]/,
    ],
    [
      "spans with a gap",
      (sample) => ({ ...sample, weightVersions: [{ version: 0, from: 1, to: 10 }] }),
      /weightVersions\[0\]/,
    ],
    [
      "spans that end early",
      (sample) => ({ ...sample, weightVersions: [{ version: 0, from: 0, to: 9 }] }),
      /weightVersions/,
    ],
    [
      "another compute path",
      (sample) => ({ ...sample, computePath: "abacus" }),
      /sample\.computePath.*'abacus'/,
    ],
    ["another seed than numbers", (sample) => ({ ...sample, seed: "1" }), /for seed/],
    ["sampling that is wrong", (sample) => ({ ...sample, sampling: { temperature: 9 } }), /for temperature/],
    ["no usage", ({ usage: _, ...sample }) => sample, /sample\.usage/],
  ];
  it.each(kBad)("%s", async (_, change, message) => {
    await expect(engine.resume(change(whole) as RolloutSample)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  it("options of its own", async () => {
    await expect(engine.resume(whole, { n: 2 } as object)).rejects.toThrowError(
      /known option in resume options/,
    );
  });

  it("anything when the engine is closed", async () => {
    const closed = await Engine.load(kDemoModel, { threads: 1 });
    await closed.close();
    await expect(closed.resume(whole)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});
