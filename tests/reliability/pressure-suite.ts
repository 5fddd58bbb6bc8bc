/**
 * The contract under pressure: the same requests in random mixtures of everything at once (prefix cache cold, warm,
 * evicted and salted; tight pools with preemption and recompute; one and two ranks; chunk sizes; threads; aborted
 * strangers), against each request alone, in one piece, without a cache. Returns what differs.
 *
 * Must not fail by itself: pressure.test.ts wants no mismatch, canary.test.ts wants some.
 */
import type { Engine as EngineType, LoadOptions, SamplingOptions } from "lockstep";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { poolFor } from "./pool.js";
import { between, difference, pick, shuffled, whatCounts } from "./support.js";

/** A request of one of three kinds; `from` and `tokenIds` are score()'s. */
export interface Case {
  tokens: number[];
  sampling?: SamplingOptions;
  n?: number;
  score?: { from: number; topLogprobs: number; tokenIds: number[] };
}

export interface Mixture {
  name: string;
  load: LoadOptions;
  /** How often the whole set is run on the same engine: the second time, the cache is warm. */
  rounds: number;
  salts: number;
  /** Requests that are aborted: among the cases, or all before the first of them. */
  strangers: "none" | "among" | "before";
}

export interface MixtureReport {
  mixture: string;
  mismatches: string[];
  comparisons: number;
  stepsAhead: number;
  preemptions: number;
  evictions: number;
  partialHits: number;
  cachedTokens: number;
  aborts: number;
  /** Of them, before the first case was submitted. */
  abortsBefore: number;
  maxBatch: number;
}

export interface CaseLimits {
  longestPrompt?: number;
  longestOutput?: number;
}

/** Prompts that share beginnings, with every sampling option in turn. */
export function pressureCases(count: number, vocab: number, seed: number, limits: CaseLimits = {}): Case[] {
  const { longestPrompt = 150, longestOutput = 40 } = limits;
  const random = randomSource(seed);
  const families = Array.from({ length: 4 }, () => randomTokens(random, longestPrompt, vocab));
  return Array.from({ length: count }, (_, i) => {
    const length = pick(random, [
      between(random, 1, longestPrompt),
      16 * between(random, 1, Math.floor(longestPrompt / 16)),
    ]);
    const shared = pick(random, [length, between(random, 0, length), 16 * Math.floor(length / 16)]);
    const tokens = [
      ...pick(random, families).slice(0, shared),
      ...randomTokens(random, length - shared, vocab),
    ];
    if (i % 5 === 4) {
      const from = pick(random, [0, 1, length - 1, length, between(random, 0, length)]);
      return { tokens, score: { from, topLogprobs: i % 3, tokenIds: randomTokens(random, 3, vocab) } };
    }
    const sampling = samplingOf(random, i, vocab, between(random, 1, longestOutput));
    return { tokens, sampling, ...(i % 5 === 3 && { n: between(random, 2, 4) }) };
  });
}

function samplingOf(random: () => number, index: number, vocab: number, maxTokens: number): SamplingOptions {
  const options: SamplingOptions = {
    maxTokens,
    ignoreEos: index % 3 !== 0,
    logprobs: true,
    topLogprobs: index % 4,
    temperature: pick(random, [0, 0, 0.7, 1, 1.6]),
    seed: between(random, 0, 2 ** 31),
    sampleIndex: pick(random, [0, 7, 2 ** 31]),
    promptLogprobs: index % 6 === 0,
  };
  if (index % 2 === 0)
    Object.assign(options, { topK: pick(random, [0, 1, 20]), topP: pick(random, [1, 0.9]) });
  const { temperature, topK, topP = 1 } = options;
  options.keptTokenIds = temperature === 0 || Boolean(topK) || topP < 1;
  if (index % 3 === 1)
    Object.assign(options, { repetitionPenalty: 1.3, presencePenalty: 0.5, frequencyPenalty: 0.2 });
  if (index % 4 === 1) Object.assign(options, { minP: 0.05, minTokens: Math.min(4, maxTokens) });
  if (index % 7 === 2)
    options.logitBias = {
      [between(random, 0, vocab - 1)]: 4,
      [between(random, 0, vocab - 1)]: Number.NEGATIVE_INFINITY,
    };
  if (index % 7 === 5) options.forcedTokens = randomTokens(random, between(random, 1, maxTokens), vocab);
  return options;
}

/** Each alone; what run() must give again. */
export async function runAlone(Engine: typeof EngineType, model: string, cases: Case[]): Promise<unknown[]> {
  const load: LoadOptions = { maxSequences: 1, maxBatchTokens: 4096, threads: 1, prefixCache: false };
  const engine = await Engine.load(model, load);
  try {
    const results: unknown[] = [];
    for (const one of cases) {
      const { tokens, sampling, n = 1 } = one;
      if (!sampling) {
        results.push(await request(engine, one, ""));
        continue;
      }
      const samples = [];
      for (let k = 0; k < n; ++k)
        samples.push(
          await engine.generate({ tokens }, { ...sampling, sampleIndex: sampling.sampleIndex! + k }),
        );
      results.push(samples.map(whatCounts));
    }
    return results;
  } finally {
    await engine.close();
  }
}

async function request(
  engine: EngineType,
  { tokens, sampling, n = 1, score }: Case,
  cacheSalt: string,
): Promise<unknown> {
  if (score) {
    const { usage: _usage, ...rest } = await engine.score({ tokens }, { ...score, cacheSalt });
    return rest;
  }
  const result = await engine.generate({ tokens }, { ...sampling, n, cacheSalt });
  return (Array.isArray(result) ? result : [result]).map(whatCounts);
}

export function randomMixtures(count: number, cases: Case[], ranks: number, seed: number): Mixture[] {
  const random = randomSource(seed);
  return Array.from({ length: count }, (_, i) => {
    const load: LoadOptions = {
      tensorParallel: i % 2 === 1 ? ranks : 1,
      threads: between(random, 1, 3),
      prefixCache: i % 5 !== 4,
      // From so tight that requests push each other out to so wide that nothing is ever evicted.
      kvCacheTokens: poolFor(cases, pick(random, [0, 1, 3, 8, 40])),
      maxBatchTokens: pick(random, [7, 16, 33, 64, 512]),
      maxSequences: pick(random, [3, 16, 64]),
    };
    if (i % 3 === 0)
      Object.assign(load, { kvCacheTokens: poolFor(cases, 2), maxSequences: 32, maxBatchTokens: 512 });
    if (i % 3 === 1) Object.assign(load, { kvCacheTokens: poolFor(cases, 200), maxSequences: 32 });
    const salts = pick(random, [1, 1, 2]);
    const name = `mixture ${i}: ${JSON.stringify(load)}, ${salts} salts`;
    return { name, load, rounds: 2, salts, strangers: i % 2 === 0 ? "among" : "none" };
  });
}

export async function runMixture(
  Engine: typeof EngineType,
  model: string,
  cases: Case[],
  expected: unknown[],
  mixture: Mixture,
): Promise<MixtureReport> {
  const { name, load, rounds, salts, strangers } = mixture;
  const random = randomSource(11);
  const mismatches: string[] = [];
  let comparisons = 0;
  const engine = await Engine.load(model, load);
  try {
    if (strangers === "before") await abortStorm(engine, cases, random);
    const { aborts: abortsBefore } = engine.stats();
    for (let round = 0; round < rounds; ++round) {
      const open: Promise<void>[] = [];
      for (const i of shuffled([...cases.keys()], random)) {
        const salt = `salt ${between(random, 1, salts)}`;
        if (strangers === "among" && i % 4 === 0) open.push(abortedStranger(engine, cases[i]!, salt, random));
        const compare = async () => {
          const different = difference(expected[i], await request(engine, cases[i]!, salt));
          comparisons += 1;
          if (different) mismatches.push(`round ${round}, case ${i}: ${different}`);
        };
        open.push(compare());
        if (random() < 0.2) await new Promise(setImmediate);
      }
      await Promise.all(open);
    }
    const { stepsAhead, preemptions, evictions, prefixHits, cachedTokens, aborts, maxBatch, blocks } =
      engine.stats();
    if (blocks.owned !== 0) mismatches.push(`${blocks.owned} blocks are still owned at the end`);
    const counts = {
      stepsAhead,
      preemptions,
      evictions,
      partialHits: prefixHits.partial,
      cachedTokens,
      aborts,
      abortsBefore,
    };
    return { mixture: name, mismatches, comparisons, ...counts, maxBatch };
  } finally {
    await engine.close();
  }
}

/** Every prompt ten times, given up on the way; over when it returns. */
async function abortStorm(engine: EngineType, cases: Case[], random: () => number): Promise<void> {
  for (let round = 0; round < 10; ++round)
    await Promise.all(cases.map((one) => abortedStranger(engine, one, "", random)));
  const { running, queue } = engine.stats();
  if (running + queue > 0) throw new Error(`${running} and ${queue} requests are left of the storm`);
}

/** The same prompt again, given up on the way. */
async function abortedStranger(
  engine: EngineType,
  { tokens }: Case,
  cacheSalt: string,
  random: () => number,
): Promise<void> {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20 * random());
  await engine.generate({ tokens }, { temperature: 0, maxTokens: 40, cacheSalt, signal: controller.signal });
}
