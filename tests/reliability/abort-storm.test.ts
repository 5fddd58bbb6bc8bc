/** RELIABILITY R8: 10,000 requests on a tiny model, aborted at random points. Everything settles; nothing is lost. */
import { rmSync } from "node:fs";
import type { Engine, Generation } from "lockstep";
import { afterAll, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { between, kTinyVocab, shuffled, until, withEngine, writeTinyModel } from "./support.js";

const kRequests = 10_000;
const kAtOnce = 200;

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

/** Steps, blocks and tokens of some requests one after the other, under a salt of their own. */
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
  const after = engine.stats();
  return {
    steps: after.steps - before.steps,
    computed: after.computedTokens - before.computedTokens,
    outputs: outputs.map(({ tokens, logprobs }) => ({ tokens, logprobs })),
  };
}

it("10,000 aborted requests leave nothing behind", { timeout: 180_000 }, async () => {
  const load = { threads: 1, kvCacheTokens: 512, maxBatchTokens: 48, maxSequences: 32 };
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
    console.log(
      `R8: ${JSON.stringify(outcomes)}, ${aborts} aborts in the engine, ${preemptions} preemptions`,
    );
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
