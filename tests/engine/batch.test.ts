/** Many requests: order, errors of single elements, seeds, counters, several engines, and the host's event loop. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Engine } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeRandomCheckpoint } from "../model/random-checkpoint.js";
import { kDemoModel, kEndless, kTokens, withEngine } from "./support.js";

const prompts = Array.from({ length: 20 }, (_, i) => ({
  tokens: Array.from({ length: 1 + i }, (_, j) => 60 + i + j),
}));
const tooLong = { tokens: Array<number>(5000).fill(1) };

describe("an array of prompts", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load(kDemoModel, { threads: 2 });
  });
  afterAll(() => engine.close());

  it("comes back in order, whatever finished first", async () => {
    const generations = await engine.generate(prompts, { ...kEndless, maxTokens: 12 });
    expect(generations).toHaveLength(prompts.length);
    for (const [i, generation] of generations.entries()) {
      expect(generation).toMatchObject({ usage: { promptTokens: 1 + i }, finishReason: "length" });
      const alone = await engine.generate(prompts[i]!, { ...kEndless, maxTokens: 12 });
      expect(generation.tokens).toEqual(alone.tokens);
    }
    expect(await engine.generate([], kEndless)).toEqual([]);
    expect(await engine.generate([kTokens], { ...kEndless, maxTokens: 1 })).toHaveLength(1);
  });

  it("mixes the kinds of prompts", async () => {
    const mixed = ["hello", { text: "hello" }, kTokens, { messages: [{ role: "user", content: "hello" }] }];
    const generations = await engine.generate(mixed, { ...kEndless, maxTokens: 6 });
    expect(generations.map(({ tokens }) => tokens.length)).toEqual([6, 6, 6, 6]);
    expect(generations[0]!.tokens).toEqual(generations[1]!.tokens);
  });

  it("loses nothing to an element that fails while running", async () => {
    const [first, second, third] = await engine.generate([kTokens, tooLong, kTokens], {
      ...kEndless,
      maxTokens: 4,
    });
    expect(second).toMatchObject({ error: { code: "PROMPT_TOO_LONG" }, tokens: [], text: "" });
    for (const good of [first!, third!]) {
      expect(good.error).toBeUndefined();
      expect(good.tokens).toHaveLength(4);
    }
    const [good, bad] = await engine.score([kTokens, tooLong]);
    expect(good!.logprobs).toHaveLength(kTokens.tokens.length);
    expect(bad).toMatchObject({ error: { code: "PROMPT_TOO_LONG" } });
  });

  it("draws a seed for each element, and gives each back to be drawn again", async () => {
    const options = { temperature: 1, ignoreEos: true, maxTokens: 10, logprobs: true };
    const generations = await engine.generate(Array(6).fill(kTokens), options);
    expect(new Set(generations.map(({ seed }) => seed)).size).toBe(6);
    for (const { seed, sampleIndex, tokens, logprobs } of generations)
      expect(await engine.generate(kTokens, { ...options, seed, sampleIndex })).toMatchObject({
        tokens,
        logprobs,
      });
  });

  it("has one stream of randomness for each seed and sampleIndex", async () => {
    const sample = (seed: number, sampleIndex: number) =>
      engine.generate(kTokens, { temperature: 2, ignoreEos: true, maxTokens: 16, seed, sampleIndex });
    const of = async (seed: number, sampleIndex: number) => String((await sample(seed, sampleIndex)).tokens);
    const all = await Promise.all([
      of(1, 0),
      of(1, 1),
      of(2, 0),
      of(2 ** 32 + 1, 0),
      of(2 ** 53 - 1, 2 ** 32 - 1),
    ]);
    expect(new Set(all).size).toBe(5);
    expect(await of(2 ** 53 - 1, 2 ** 32 - 1)).toBe(all[4]);
  });
});

describe("stats", () => {
  it("count what happened, and every block comes back", async () => {
    await withEngine(
      { maxSequences: 8, kvCacheTokens: 1024, maxBatchTokens: 64, prefixCache: false },
      async (engine) => {
        const before = engine.stats();
        expect(before).toMatchObject({
          steps: 0,
          generatedTokens: 0,
          promptTokens: 0,
          computedTokens: 0,
          aborts: 0,
        });
        expect(before.blocks).toEqual({ free: 64, cached: 0, owned: 0 });
        await engine.generate(prompts, { ...kEndless, maxTokens: 12 });
        const after = engine.stats();
        const promptTokens = prompts.reduce((sum, { tokens }) => sum + tokens.length, 0);
        expect(after).toMatchObject({
          promptTokens,
          generatedTokens: 240,
          maxBatch: 8,
          aborts: 0,
          preemptions: 0,
        });
        expect(after).toMatchObject({ running: 0, queue: 0, cachedTokens: 0, blocks: before.blocks });
        // The last token of each is never computed, only drawn.
        expect(after.computedTokens).toBe(promptTokens + 240 - prompts.length);
        await engine.score(kTokens);
        expect(engine.stats().blocks).toEqual(before.blocks);
        expect(engine.stats().generatedTokens).toBe(240);
      },
    );
  });

  it("show blocks in use while something runs", async () => {
    await withEngine({ kvCacheTokens: 1024 }, async (engine) => {
      for await (const { tokens } of engine.stream(kTokens, { ...kEndless, maxTokens: 200 })) {
        const { blocks, running } = engine.stats();
        expect(blocks.free + blocks.owned + blocks.cached).toBe(64);
        if (running === 0) break; // it may have finished while we were reading
        expect(blocks.owned).toBeGreaterThan(0);
        expect(tokens.length).toBeGreaterThan(0);
      }
    });
  });
});

describe("logits that are not finite", () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-nan-"));
  afterAll(() => rmSync(directory, { recursive: true }));

  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "fail their own request, and nobody else's: %s",
    async (poison) => {
      const model = join(directory, String(poison));
      const shape = {
        layers: 2,
        hidden: 32,
        heads: 4,
        kvHeads: 2,
        headDim: 8,
        mlp: 48,
        vocab: 64,
        context: 256,
      };
      // Token 7's embedding is poisoned; the head is a matrix of its own and is not.
      const edit = (tensors: Map<string, { values: Float32Array }>) =>
        tensors.get("model.embed_tokens.weight")!.values.fill(poison, 7 * 32, 8 * 32);
      writeRandomCheckpoint(model, { ...shape, tied: false }, { edit });
      // So few blocks that the poisoned ones are used again at once.
      const engine = await Engine.load(model, { kvCacheTokens: 64, threads: 1 });
      const good = { tokens: [1, 2, 3, 4, 5] };
      const options = { temperature: 0, maxTokens: 8, logprobs: true };
      const expected = await engine.generate(good, options);
      for (let round = 0; round < 3; ++round) {
        const bad = { tokens: [1, 2, 7, 4] };
        await expect(engine.generate(bad, options)).rejects.toMatchObject({ code: "NON_FINITE_LOGITS" });
        await expect(engine.score(bad)).rejects.toMatchObject({ code: "NON_FINITE_LOGITS" });
        const [first, second] = await engine.generate([bad, good], options);
        expect(first).toMatchObject({ error: { code: "NON_FINITE_LOGITS" }, tokens: [] });
        expect(second).toMatchObject({ tokens: expected.tokens, logprobs: expected.logprobs });
      }
      const { blocks } = engine.stats();
      expect(blocks).toMatchObject({ free: 4 - blocks.cached, owned: 0 });
      await engine.close();
    },
  );
});

it("two engines work side by side, on one checkpoint, and one outlives the other", async () => {
  await withEngine({ threads: 1 }, async (first) => {
    const options = { ...kEndless, maxTokens: 60, logprobs: true };
    const expected = await first.generate(prompts, options);
    const both = await withEngine({ threads: 2, maxBatchTokens: 32 }, (second) =>
      Promise.all([first.generate(prompts, options), second.generate(prompts, options)]),
    );
    const again = await first.generate(prompts, options);
    for (const generations of [...both, again])
      expect(generations.map(({ tokens, logprobs }) => ({ tokens, logprobs }))).toEqual(
        expected.map(({ tokens, logprobs }) => ({ tokens, logprobs })),
      );
  });
});

it("the event loop stays free while 64 sequences are generated", async () => {
  await withEngine({}, async (engine) => {
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    await engine.generate(Array(64).fill(kTokens), { ...kEndless, maxTokens: 100 });
    delay.disable();
    const [mean, max] = [delay.mean / 1e6, delay.max / 1e6];
    console.log(
      `event loop delay while generating: ${mean.toFixed(1)} ms on average, ${max.toFixed(1)} ms at most`,
    );
    expect(max).toBeLessThan(500); // the generation takes longer; a blocking one would show
  });
});
