/**
 * embed(): the golden embedding model; the poolings against the hidden states themselves, whatever the chunks, the cache,
 * the pool and the ranks; the conventions for texts; what becomes of a call that is aborted or fails.
 */
import { readFileSync, rmSync } from "node:fs";
import { type EmbedOptions, Engine, type LoadOptions, type Prompt } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { removeVariants, variant } from "../api/support.js";
import { goldenDirectory, readGolden, rmsOver } from "../model/goldens.js";
import { openNativeModel } from "../model/native-model.js";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { Reference } from "../model/reference.js";
import { widen } from "../model/safetensors.js";
import { kTinyVocab, poison, withEngine, writeTinyModel } from "../reliability/support.js";
import { describeIfShared } from "../support/shared.js";
import { kDemoModel, until } from "./support.js";

const kPoisoned = kTinyVocab - 1;
const tiny = writeTinyModel(2048);
poison(tiny, kPoisoned);
afterAll(() => {
  rmSync(tiny, { recursive: true });
  removeVariants();
});

const random = randomSource(61);
const prompts = [1, 2, 15, 16, 17, 33, 64, 100, 257].map((length) => randomTokens(random, length, kPoisoned));
const inputs = prompts.map((tokens) => ({ tokens }));

/** By the definition, from hidden states [T, D]. */
function pool(hidden: ArrayLike<number>, size: number, options: EmbedOptions): Float32Array {
  const { pooling = "last", normalize = true, dimensions = size } = options;
  const T = hidden.length / size;
  const [from, to] = { last: [T - 1, T], mean: [0, T], cls: [0, 1] }[pooling] as [number, number];
  const mean = new Float64Array(dimensions);
  for (let i = 0; i < dimensions; ++i) {
    for (let t = from; t < to; ++t) mean[i]! += hidden[t * size + i]!;
    mean[i]! /= to - from;
  }
  const norm = normalize ? Math.sqrt(mean.reduce((sum, value) => sum + value * value, 0)) : 1;
  return Float32Array.from(mean, (value) => value / norm);
}

async function hiddenOf(directory: string, prompts: number[][]): Promise<Float32Array[]> {
  const model = await openNativeModel(directory, "");
  return prompts.map((tokens) => widen(model.forward(Int32Array.from(tokens), 1024).hidden));
}

const kOptions: EmbedOptions[] = [
  {},
  { pooling: "mean" },
  { pooling: "cls" },
  { pooling: "mean", normalize: false },
  { dimensions: 5 },
  { pooling: "mean", dimensions: 1, normalize: false },
];

const kWays: [string, LoadOptions][] = [
  ["all in one step", { maxBatchTokens: 2048 }],
  ["chunks of 1", { maxBatchTokens: 1 }],
  ["chunks of 7, two ranks", { maxBatchTokens: 7, tensorParallel: 2 }],
  ["one after the other, no cache", { maxSequences: 1, prefixCache: false }],
  ["a small pool", { kvCacheTokens: 272, maxBatchTokens: 64 }],
];

describe("the hidden states, pooled", () => {
  it.each(kWays)("are those of the model: %s", async (_, load) => {
    const hidden = await hiddenOf(tiny, prompts);
    await withEngine(tiny, { threads: 2, ...load }, async (engine) => {
      for (const options of kOptions)
        expect(await engine.embed(inputs, options)).toEqual(hidden.map((rows) => pool(rows, 32, options)));
    });
  });

  it("are computed where they are needed, behind a cached prefix elsewhere", async () => {
    await withEngine(tiny, {}, async (engine) => {
      const long = inputs.at(-1)!; // 16 blocks and a token
      await engine.embed(long);
      const computedBy = async (options: EmbedOptions) => {
        const before = engine.stats().computedTokens;
        await engine.embed(long, options);
        return engine.stats().computedTokens - before;
      };
      expect(await computedBy({})).toBe(1);
      expect(await computedBy({ pooling: "mean" })).toBe(257);
      expect(await computedBy({ pooling: "cls" })).toBe(1);
      expect(await computedBy({ cacheSalt: "another" })).toBe(257);
    });
  });

  it("are the same after a preemption half-way", async () => {
    const long = { tokens: randomTokens(random, 600, kPoisoned) };
    const [expected] = await hiddenOf(tiny, [long.tokens]);
    // The generations grow until a block is missing: the newest request, still in its prefill, has to give way.
    await withEngine(tiny, { kvCacheTokens: 960, maxBatchTokens: 4, threads: 1 }, async (engine) => {
      const logitBias = { [kPoisoned]: Number.NEGATIVE_INFINITY };
      const sampling = { temperature: 0, maxTokens: 400, ignoreEos: true, logitBias };
      await engine.pause(); // until all wait, in this order
      const growing = [1, 2].map((token) => engine.generate({ tokens: [token] }, sampling));
      const embedding = engine.embed(long, { pooling: "mean" });
      await until(() => engine.stats().queue === 3, "all wait");
      engine.continue();
      const [vector] = await Promise.all([embedding, ...growing]);
      expect(engine.stats().preemptions).toBeGreaterThan(0);
      expect(engine.stats().computedTokens).toBeGreaterThan(2 * 400 + 600); // some of them twice
      expect(vector).toEqual(pool(expected!, 32, { pooling: "mean" }));
    });
  });
});

describeIfShared("the golden embedding model", () => {
  const prompts = readGolden("embedding");
  const directory = goldenDirectory("embedding");

  it("gets embeddings as near to transformers' as a rounded reference", async () => {
    const rounded = new Reference(directory, { rounded: true });
    await withEngine(directory, {}, async (engine) => {
      for (const [name, dimensions] of [
        ["embedding_f32", 96],
        ["embedding32_f32", 32],
      ] as const) {
        const vectors = await engine.embed(
          prompts.map(({ tokens }) => ({ tokens })),
          { dimensions },
        );
        const ours = rmsOver(prompts, (prompt) => vectors[prompts.indexOf(prompt)]!, name);
        const yard = rmsOver(
          prompts,
          ({ tokens }) => pool(rounded.forward(tokens).hidden, 96, { dimensions }),
          name,
        );
        expect(ours / yard).toBeLessThanOrEqual(1.25); // see tests/model/goldens.test.ts
      }
    });
  });
});

describe("texts", () => {
  /** A tokenizer that ends each text with <|endoftext|>, as Qwen3-Embedding's does. */
  function withEnd(): string {
    const json = JSON.parse(readFileSync(`${kDemoModel}/tokenizer.json`, "utf8"));
    json.post_processor.single.push({ SpecialToken: { id: "<|endoftext|>", type_id: 0 } });
    json.post_processor.special_tokens["<|endoftext|>"] = {
      id: "<|endoftext|>",
      ids: [kEnd],
      tokens: ["<|endoftext|>"],
    };
    return variant({ "tokenizer.json": json });
  }
  const kEnd = 694;

  it("get the tokenizer's special tokens and the instruction; ids and what generate reads do not", async () => {
    await withEngine(withEnd(), {}, async (engine) => {
      const { tokenizer } = engine;
      const ids = (text: string) => ({ tokens: [...tokenizer.encode(text), kEnd] });
      const messages = [{ role: "user", content: "Is the lamp on?" }];
      const rendered = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
      const same: [Prompt, EmbedOptions, { tokens: number[] }][] = [
        ["Is the lamp on?", {}, ids("Is the lamp on?")],
        [{ text: "on<|endoftext|>" }, {}, ids("on<|endoftext|>")], // twice, as Hugging Face has it
        [{ messages }, { pooling: "mean" }, ids(rendered)],
        ["lamp", { instruct: "Find rooms" }, ids("Instruct: Find rooms\nQuery:lamp")],
        [{ text: "lamp" }, { instruct: "" }, ids("Instruct: \nQuery:lamp")],
      ];
      for (const [prompt, options, { tokens }] of same) {
        const { instruct: _, ...rest } = options;
        expect(await engine.embed(prompt, options)).toEqual(await engine.embed({ tokens }, rest));
        expect(await engine.embed([prompt], options)).toEqual([await engine.embed({ tokens }, rest)]);
      }
      expect((await engine.score("Is the lamp on?")).tokens).not.toContain(kEnd);
    });
  });

  it("that only fit without their end are refused", async () => {
    await withEngine(withEnd(), { maxContext: 32 }, async (engine) => {
      const text = engine.tokenizer.decode(Array(32).fill(engine.tokenizer.encode("!")[0]!));
      expect(engine.tokenizer.encode(text)).toHaveLength(32);
      await expect(engine.embed(["a", text])).rejects.toMatchObject({
        code: "PROMPT_TOO_LONG",
        message: expect.stringMatching(
          /^prompt\[1\]: Expected a prompt of at most 32 tokens but received 33:/,
        ),
      });
      expect(engine.stats().promptTokens).toBe(0); // found before any is run
    });
  });
});

describe("a call that comes to nothing", () => {
  /** Work for thousands of steps: whatever ends the call comes before its end. */
  const many = Array.from({ length: 40 }, () => ({ tokens: randomTokens(random, 2000, kPoisoned) }));
  const nothingLeft = (engine: Engine) =>
    until(() => engine.stats().blocks.owned === 0 && engine.stats().queue === 0, "nothing is left");

  it("names the input whose hidden states are not finite, and ends the others", async () => {
    for (const pooling of ["last", "mean"] as const)
      await withEngine(tiny, { maxBatchTokens: 16 }, async (engine) => {
        const bad = { tokens: [kPoisoned, 3] };
        const failure = { code: "NON_FINITE_LOGITS", message: expect.stringMatching(/^prompt\[1\]: .*NaN/) };
        await expect(engine.embed([inputs[0]!, bad, ...many], { pooling })).rejects.toMatchObject(failure);
        await nothingLeft(engine);
        expect(engine.stats()).toMatchObject({ failed: { NON_FINITE_LOGITS: 1 }, rejected: {} });
        expect(engine.stats().aborts).toBeGreaterThan(0);
        await expect(engine.embed(bad, { pooling })).rejects.toMatchObject({
          message: expect.stringMatching(/^The model's hidden states up to position 1 hold NaN/),
        });
      });
  });

  it("says that the queue is full", async () => {
    await withEngine(tiny, { maxQueue: 3 }, async (engine) => {
      await expect(engine.embed(inputs)).rejects.toMatchObject({
        code: "QUEUE_FULL",
        message: expect.stringMatching(/^prompt\[3\]: /),
      });
      await nothingLeft(engine);
      expect(engine.stats().rejected).toEqual({ QUEUE_FULL: 1 });
      expect(await engine.embed(inputs.slice(0, 3))).toHaveLength(3);
    });
  });

  it("rejects with the signal's reason, before it runs and while it does", async () => {
    await withEngine(tiny, { maxBatchTokens: 8 }, async (engine) => {
      const reason = new Error("enough");
      await expect(engine.embed(many, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(engine.stats().aborts).toBe(many.length);
      const controller = new AbortController();
      const call = engine.embed(many, { signal: controller.signal, pooling: "mean" });
      const outcome = expect(call).rejects.toBe(reason);
      await until(() => engine.stats().running > 0, "it runs");
      controller.abort(reason);
      await outcome;
      await nothingLeft(engine);
    });
  });

  it("is rejected where the engine closes", async () => {
    const engine = await Engine.load(tiny, { maxBatchTokens: 8 });
    const outcome = expect(engine.embed(many)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    await until(() => engine.stats().running > 0, "it runs");
    await engine.close();
    await outcome;
    await expect(engine.embed(many)).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
  });
});
