/** RELIABILITY R8: 10,000 requests on a tiny model, aborted at random points. Everything settles; nothing is lost. */
import { rmSync } from "node:fs";
import type { Engine, Generation, LoadOptions } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import {
  between,
  kDemoModel,
  kDemoVocab,
  kTinyVocab,
  shuffled,
  until,
  withEngine,
  writeTinyModel,
} from "./support.js";

const kRequests = 10_000;
const kAtOnce = 200;
const kPoolTokens = 512;

const model = writeTinyModel();
afterAll(() => rmSync(model, { recursive: true }));

const rejections: unknown[] = [];
process.on("unhandledRejection", (reason) => rejections.push(reason));

/** Where a request is given up. */
const ways = [
  "before",
  "at once",
  "soon",
  "later",
  "streaming",
  "streaming, by leaving",
  "twice",
  "after the end",
  "not at all",
  "score",
] as const;

const ticks = async (count: number) => {
  for (let i = 0; i < count; ++i) await new Promise(setImmediate);
};

async function one(engine: Engine, way: (typeof ways)[number], random: () => number): Promise<string> {
  const controller = new AbortController();
  const { signal } = controller;
  const prompt = { tokens: randomTokens(random, between(random, 1, 120), kTinyVocab) };
  const options = { temperature: 1, seed: 1, maxTokens: between(random, 1, 70), signal };
  const abort = () => controller.abort();
  if (way === "before") abort();
  if (way === "score") {
    const score = engine.score(prompt, { signal });
    if (random() < 0.7) ticks(between(random, 0, 3)).then(abort);
    return score.then(
      () => "scored",
      (error) => (error.name === "AbortError" ? "score aborted" : String(error)),
    );
  }
  if (way.startsWith("streaming")) {
    const stream = engine.stream(prompt, options);
    const until = between(random, 0, 10);
    let seen = 0;
    let last: Generation | undefined;
    for await (const { tokens, generation } of stream) {
      last = generation;
      seen += tokens.length;
      if (seen < until) continue;
      if (way !== "streaming") return "left";
      abort();
    }
    return last!.finishReason;
  }
  const generation = engine.generate(prompt, options);
  if (way === "at once") abort();
  if (way === "soon") ticks(between(random, 0, 3)).then(abort);
  if (way === "later" || way === "twice") setTimeout(abort, 30 * random());
  if (way === "twice") ticks(2).then(abort);
  const { finishReason, error } = await generation;
  if (way === "after the end") abort();
  return error ? String(error) : finishReason;
}

/** Steps, blocks and tokens of some requests one after the other, under a salt of their own; the last fills the pool. */
async function sameWork(engine: Engine, cacheSalt: string) {
  const random = randomSource(99);
  const before = engine.stats();
  const outputs = [];
  for (let i = 0; i < 20; ++i) {
    const tokens = randomTokens(random, between(random, 1, 100), kTinyVocab);
    outputs.push(
      await engine.generate(
        { tokens },
        { temperature: 1, seed: i, maxTokens: 20, logprobs: true, cacheSalt },
      ),
    );
  }
  const whole = { tokens: randomTokens(random, kPoolTokens, kTinyVocab) };
  const { logprobs } = await engine.score(whole, { cacheSalt });
  const after = engine.stats();
  return {
    steps: after.steps - before.steps,
    computed: after.computedTokens - before.computedTokens,
    blocks: after.blocks,
    logprobs,
    outputs: outputs.map(({ tokens, logprobs }) => ({ tokens, logprobs })),
  };
}

it("10,000 aborted requests leave nothing behind", { timeout: 180_000 }, async () => {
  const load = { threads: 1, kvCacheTokens: kPoolTokens, maxBatchTokens: 48, maxSequences: 32 };
  await withEngine(model, load, async (engine) => {
    const { free } = engine.stats().blocks;
    const before = await sameWork(engine, "before");
    const random = randomSource(8);
    const plan = shuffled(
      Array.from({ length: kRequests }, (_, i) => ways[i % ways.length]!),
      random,
    );
    const outcomes: Record<string, number> = {};
    const worker = async () => {
      for (let way = plan.pop(); way; way = plan.pop()) {
        const outcome = await one(engine, way, random);
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: kAtOnce }, worker));
    await until(() => engine.stats().running + engine.stats().queue === 0, "nothing runs");
    const { aborts, blocks, preemptions } = engine.stats();
    console.log(`R8: ${JSON.stringify(outcomes)}, ${aborts} aborts counted, ${preemptions} preemptions`);
    expect(Object.values(outcomes).reduce((a, b) => a + b)).toBe(kRequests);
    expect(Object.keys(outcomes).sort()).toEqual(["abort", "left", "length", "score aborted", "scored"]);
    expect(outcomes.abort).toBeGreaterThan(kRequests / 4);
    expect(aborts).toBeGreaterThan(kRequests / 5);
    expect(preemptions).toBeGreaterThan(0);
    expect(blocks.owned).toBe(0);
    expect(blocks.free + blocks.cached).toBe(free);
    expect(await sameWork(engine, "after")).toEqual(before);
    await ticks(5);
    expect(rejections).toEqual([]);
  });
});

/**
 * All open requests are given up in one turn, so no step can begin once the engine has heard of it: it may only finish
 * the one it is in. Whether it does is read from its counters, however long this thread takes to notice.
 */
describe("requests given up together settle within one step", { timeout: 60_000 }, () => {
  const random = randomSource(88);
  const prompts = (count: number, length: number) =>
    Array.from({ length: count }, () => ({ tokens: randomTokens(random, length, kDemoVocab) }));

  /** Opens requests with `open`, waits until they are in the states that `reached` tells of, and gives all up. */
  async function giveUp(
    engine: Engine,
    open: (signal: AbortSignal) => Promise<string>[],
    reached: () => boolean,
  ): Promise<void> {
    const before = engine.stats();
    expect(before).toMatchObject({ running: 0, queue: 0, blocks: { owned: 0 } });
    const controller = new AbortController();
    const requests = open(controller.signal);
    await until(reached, "the requests are in their states");
    expect(engine.stats().blocks.owned).toBeGreaterThan(0);
    controller.abort();
    const { steps } = engine.stats();
    expect(await Promise.all(requests)).toEqual(requests.map(() => "aborted"));
    const after = engine.stats();
    expect(after.steps - steps).toBeLessThanOrEqual(1);
    expect(after.aborts - before.aborts).toBe(requests.length);
    expect(after).toMatchObject({ running: 0, queue: 0, blocks: { owned: 0 } });
    expect(after.blocks.free + after.blocks.cached).toBe(before.blocks.free + before.blocks.cached);
  }

  const endless = { temperature: 0, ignoreEos: true };
  const generate = (engine: Engine, prompt: { tokens: number[] }, signal: AbortSignal) =>
    engine.generate(prompt, { ...endless, signal }).then(aborted);
  const aborted = ({ finishReason }: Generation) => (finishReason === "abort" ? "aborted" : finishReason);
  const stream = async (engine: Engine, prompt: { tokens: number[] }, signal: AbortSignal) => {
    for await (const { generation } of engine.stream(prompt, { ...endless, signal }))
      if (generation) return aborted(generation);
    return "without an end";
  };
  const score = (engine: Engine, prompt: { tokens: number[] }, signal: AbortSignal) =>
    engine.score(prompt, { signal }).then(
      () => "scored",
      ({ name }) => (name === "AbortError" ? "aborted" : name),
    );

  const kRounds = 10;
  const load: LoadOptions = { threads: 1, maxBatchTokens: 16 };

  it("decoding, streaming, in the middle of a prompt, and in the queue", () =>
    withEngine(kDemoModel, { ...load, prefixCache: false }, async (engine) => {
      for (let round = 0; round < kRounds; ++round) {
        const { generatedTokens } = engine.stats();
        const open = (signal: AbortSignal) => [
          ...prompts(4, 5).map((prompt) => generate(engine, prompt, signal)),
          ...prompts(4, 5).map((prompt) => stream(engine, prompt, signal)),
          // The first takes what a step has left, for hundreds of steps; the others wait behind it.
          ...prompts(2, 1500).map((prompt) => generate(engine, prompt, signal)),
          ...prompts(5, 1500).map((prompt) => score(engine, prompt, signal)),
        ];
        await giveUp(engine, open, () => {
          const { running, queue, generatedTokens: now } = engine.stats();
          return running === 9 && queue === 6 && now - generatedTokens >= 16;
        });
      }
    }));

  it("in the middle of a score", () =>
    withEngine(kDemoModel, load, async (engine) => {
      for (let round = 0; round < kRounds; ++round) {
        const { steps } = engine.stats();
        const open = (signal: AbortSignal) => prompts(3, 1500).map((prompt) => score(engine, prompt, signal));
        await giveUp(engine, open, () => engine.stats().steps >= steps + 3);
      }
    }));

  it("preempted", () =>
    withEngine(kDemoModel, { ...load, kvCacheTokens: 1024 }, async (engine) => {
      for (let round = 0; round < kRounds; ++round) {
        const { preemptions } = engine.stats();
        const open = (signal: AbortSignal) =>
          prompts(8, 100).map((prompt) => generate(engine, prompt, signal));
        await giveUp(engine, open, () => {
          const { preemptions: now, queue, running } = engine.stats();
          return now - preemptions >= 2 && running > 0 && running + queue === 8;
        });
      }
    }));
});
