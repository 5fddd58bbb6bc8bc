/**
 * The lockstep contract, end to end through the public API: every way of computing the same request must give the same
 * tokens and, bit for bit, the same logprobs. Runs a set of requests in many ways and returns what differs from the
 * first: each alone, on one thread, its prompt in one piece, nothing from the prefix cache.
 *
 * Must not fail by itself: contract.test.ts wants no mismatch, canary.test.ts wants some.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine as EngineType, Generation, LoadOptions, SamplingOptions, Score } from "lockstep";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";

export interface Case {
  tokens: number[];
  sampling: SamplingOptions;
}

export interface Subject {
  /** The class under test, from whichever build. */
  Engine: typeof EngineType;
  model: string;
  /** "" = the best. */
  computePath: string;
  cases: Case[];
  /** For every engine, besides what a way is about. */
  load?: LoadOptions;
}

export interface Report {
  computePath: string;
  comparisons: number;
  /** One line for each way and case that differs. */
  mismatches: string[];
  /** What the ways were meant to provoke: most sequences in a step and preemptions, by way. */
  maxBatch: Record<string, number>;
  cachedTokens: Record<string, number>;
  preemptions: Record<string, number>;
}

interface Way {
  name: string;
  load: LoadOptions;
  /** Default: everything submitted at once, in random order. */
  submit?: (engine: EngineType, cases: Case[]) => Promise<Generation[]>;
}

/** Larger than any prompt here: "whole". */
const kWhole = 4096;

const kAlone: Way = {
  name: "alone",
  load: { maxSequences: 1, maxBatchTokens: kWhole, threads: 1, prefixCache: false },
  submit: async (engine, cases) => {
    const generations: Generation[] = [];
    for (const { tokens, sampling } of cases) generations.push(await engine.generate({ tokens }, sampling));
    return generations;
  },
};

const kWays: Way[] = [
  {
    name: "alone, 2 threads, with the prefix cache",
    load: { ...kAlone.load, threads: 2, prefixCache: true },
    submit: kAlone.submit!,
  },
  { name: "batch of 2", load: { maxSequences: 2, maxBatchTokens: kWhole, threads: 1 } },
  { name: "batch of 7", load: { maxSequences: 7, maxBatchTokens: kWhole, threads: 2 } },
  { name: "batch of 64", load: { maxSequences: 64, maxBatchTokens: kWhole, threads: 2 } },
  { name: "4 threads", load: { maxSequences: 64, maxBatchTokens: 256, threads: 4 } },
  { name: "chunks of 1", load: { maxBatchTokens: 1, threads: 1 } },
  { name: "chunks of 3", load: { maxBatchTokens: 3, threads: 2 } },
  { name: "chunks of 16", load: { maxBatchTokens: 16, threads: 1 } },
  { name: "chunks of 64", load: { maxBatchTokens: 64, threads: 2 } },
  {
    name: "arriving one by one, among aborted ones",
    load: { maxBatchTokens: 32, threads: 2 },
    submit: interleaved,
  },
];

/** The tight pool's cases: short prompts with long outputs, so that sequences outgrow what they were admitted with. */
const growing = (cases: Case[]): Case[] =>
  [...cases]
    .sort((a, b) => a.tokens.length - b.tokens.length)
    .slice(0, 40)
    .map(({ tokens, sampling }) => ({ tokens, sampling: { ...sampling, maxTokens: 64 } }));

/** Room for the longest case and little else: sequences push each other out and are computed again. */
const tightPool = (cases: Case[]): Way => {
  const longest = Math.max(...cases.map(({ tokens, sampling }) => tokens.length + sampling.maxTokens!));
  return { name: "tight pool", load: { kvCacheTokens: longest + 48, maxBatchTokens: 128, threads: 2 } };
};

export async function runContract({
  Engine,
  model,
  computePath,
  cases,
  load: common,
}: Subject): Promise<Report> {
  const report: Report = {
    computePath: "",
    comparisons: 0,
    mismatches: [],
    maxBatch: {},
    cachedTokens: {},
    preemptions: {},
  };
  const run = async <T>({ name, load }: Way, body: (engine: EngineType) => Promise<T>): Promise<T> => {
    process.env.LOCKSTEP_COMPUTE_PATH = computePath;
    const engine = await Engine.load(model, { ...common, ...load });
    try {
      report.computePath = engine.computePath;
      const result = await body(engine);
      report.maxBatch[name] = engine.stats().maxBatch;
      report.cachedTokens[name] = engine.stats().cachedTokens;
      report.preemptions[name] = engine.stats().preemptions;
      return result;
    } finally {
      delete process.env.LOCKSTEP_COMPUTE_PATH;
      await engine.close();
    }
  };
  const compare = (name: string, expected: unknown[], actual: unknown[]) => {
    expected.forEach((one, i) => {
      report.comparisons += 1;
      const difference = firstDifference(one, actual[i]);
      if (difference) report.mismatches.push(`${name}, case ${i}: ${difference}`);
    });
  };

  const generateAll = (way: Way, cases: Case[]) =>
    run(way, (engine) => (way.submit ?? atOnce)(engine, cases));

  const expected = await generateAll(kAlone, cases);
  for (const way of kWays)
    compare(way.name, expected.map(whatCounts), (await generateAll(way, cases)).map(whatCounts));
  const long = growing(cases);
  const way = tightPool(long);
  const [alone, tight] = [await generateAll(kAlone, long), await generateAll(way, long)];
  compare(way.name, alone.map(whatCounts), tight.map(whatCounts));
  const wanted = expected.map((generation, i) => scoreOf(cases[i]!, generation));
  for (const maxBatchTokens of [kWhole, 16, 3]) {
    const name = `score in chunks of ${maxBatchTokens}`;
    const scores = await run({ name, load: { maxBatchTokens, threads: 2 } }, (engine) =>
      scoreAll(engine, cases, expected),
    );
    compare(name, wanted, scores);
  }
  const vectors = await run(kAlone, async (engine) => {
    const all: Float32Array[] = [];
    for (let i = 0; i < cases.length; ++i) all.push(await embed(engine, cases[i]!, i));
    return all;
  });
  for (const maxBatchTokens of [16, 1]) {
    const name = `embed in chunks of ${maxBatchTokens}, among generations`;
    const load = { maxBatchTokens, threads: 2 };
    const [, actual] = await run({ name, load }, (engine) =>
      Promise.all([
        atOnce(engine, cases.slice(0, 4)),
        Promise.all(cases.map((one, i) => embed(engine, one, i))),
      ]),
    );
    compare(name, vectors, actual);
  }
  return report;
}

/** All at once, in random order. */
async function atOnce(engine: EngineType, cases: Case[]): Promise<Generation[]> {
  const generations: Generation[] = [];
  await Promise.all(
    shuffled(cases.length).map(async (i) => {
      const { tokens, sampling } = cases[i]!;
      generations[i] = await engine.generate({ tokens }, sampling);
    }),
  );
  return generations;
}

/** A few at a time, a moment apart; every third brings a stranger along that is aborted on the way. */
async function interleaved(engine: EngineType, cases: Case[]): Promise<Generation[]> {
  const random = randomSource(7);
  const vocab = 1 + Math.max(...cases.flatMap(({ tokens }) => tokens));
  const generations: Generation[] = [];
  const open: Promise<unknown>[] = [];
  for (const i of shuffled(cases.length)) {
    const { tokens, sampling } = cases[i]!;
    open.push(engine.generate({ tokens }, sampling).then((generation) => (generations[i] = generation)));
    if (i % 3 === 0) {
      const stranger = { tokens: randomTokens(random, 1 + Math.floor(random() * 40), vocab) };
      const signal = AbortSignal.timeout(Math.ceil(random() * 20));
      open.push(engine.generate(stranger, { temperature: 1, signal, maxTokens: 64, ignoreEos: true }));
    }
    if (random() < 0.5) await sleep(random() * 4);
  }
  await Promise.all(open);
  return generations;
}

/** The same order in every run. */
function shuffled(length: number): number[] {
  const random = randomSource(3);
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; --i) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Of a case's prompt; the pooling goes by turns. */
function embed(engine: EngineType, { tokens }: Case, index: number): Promise<Float32Array> {
  return engine.embed({ tokens }, { pooling: (["mean", "last", "cls"] as const)[index % 3]! });
}

/** Everything in a Generation that the contract speaks of. */
function whatCounts(generation: Generation | undefined): unknown {
  if (!generation) return undefined;
  const { text, tokens, logprobs, temperatureLogprobs, samplingLogprobs, topLogprobs, finishReason } =
    generation;
  return { text, tokens, logprobs, temperatureLogprobs, samplingLogprobs, topLogprobs, finishReason };
}

/** What score() must say of a generated sequence. */
function scoreOf({ tokens }: Case, generation: Generation): unknown {
  return {
    tokens: [...tokens, ...generation.tokens],
    from: tokens.length,
    logprobs: generation.logprobs,
    topLogprobs: generation.topLogprobs,
    tokenIdLogprobs: generation.topLogprobs!.map((row) => [row[0]!.logprob]),
  };
}

/** Scores every sequence in full; the rows of the prompt are dropped, and the first row's best token is asked by id. */
async function scoreAll(engine: EngineType, cases: Case[], generations: Generation[]): Promise<unknown[]> {
  return Promise.all(
    cases.map(async ({ tokens }, i) => {
      const { tokens: output, topLogprobs } = generations[i]!;
      const best = topLogprobs!.map((row) => row[0]!.token);
      const input = { tokens: [...tokens, ...output] };
      const options = {
        topLogprobs: topLogprobs![0]!.length,
        tokenIds: best,
        from: i % 2 === 0 ? tokens.length : 0,
      };
      const score: Score = await engine.score(input, options);
      const tail = <T>(rows: T[]) => rows.slice(rows.length - output.length);
      return {
        tokens: score.tokens,
        from: tokens.length,
        logprobs: tail(score.logprobs),
        topLogprobs: tail(score.topLogprobs!),
        tokenIdLogprobs: tail(score.tokenIdLogprobs!).map((row, j) => [row![j]]),
      };
    }),
  );
}

/** Where two values differ, numbers by Object.is; undefined where they do not. */
export function firstDifference(a: unknown, b: unknown, path = ""): string | undefined {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null)
    return Object.is(a, b) ? undefined : `${path || "value"}: ${show(a)} alone, ${show(b)} here`;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  for (const key of keys) {
    const [left, right] = [a, b].map((side) => (side as Record<string, unknown>)[key]);
    const difference = firstDifference(left, right, path === "" ? key : `${path}.${key}`);
    if (difference) return difference;
  }
  return undefined;
}

const show = (value: unknown): string =>
  value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value));
