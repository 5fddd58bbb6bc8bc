/** Arrays of prompts: what is refused before anything runs, what becomes one element's error, what each prompt draws. */
import { copyFileSync, readFileSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Engine, type Prompt, type SamplingOptions } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens, removeVariants, variant } from "./support.js";

const kLongText = "turn on the light in the kitchen, please. ".repeat(120); // for the encoder's worker
const kOne = { ...kEndless, maxTokens: 1 };

describe("an array", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load(kDemoModel, { threads: 1 });
  });
  afterAll(() => engine.close());

  it.each<[string, Prompt]>([
    ["no tokens", { tokens: [] }],
    ["no token of the vocabulary", { tokens: [704] }],
    ["a lone surrogate", "lone \ud800"],
  ])("with a prompt of %s is refused before anything runs", async (_, bad) => {
    const { promptTokens } = engine.stats();
    const refused = { code: "INVALID_ARGUMENT" };
    await expect(engine.score([kLongText, kTokens, bad])).rejects.toMatchObject(refused);
    await expect(engine.generate([kLongText, kTokens, bad], kOne)).rejects.toMatchObject(refused);
    expect(engine.stats().promptTokens).toBe(promptTokens);
  });

  it("leaves nothing behind that rejects later", async () => {
    const other = await Engine.load(kDemoModel, { threads: 1 });
    const scores = expect(other.score([kLongText, { tokens: [] }])).rejects.toThrow(/at least one token/);
    const open = other.score([kLongText, kTokens, kLongText]); // vitest fails on an unhandled rejection
    await other.close();
    await scores;
    for (const { error } of await open) expect(error).toMatchObject({ code: "ENGINE_CLOSED" });
  });

  it("reads its sampling options once", async () => {
    let reads = 0;
    const sampling: SamplingOptions = {
      ...kOne,
      get temperature() {
        reads += 1;
        return 0;
      },
    };
    await engine.generate([kTokens, kTokens, kTokens], sampling);
    expect(reads).toBe(1);
  });

  it("draws a seed for each prompt, or gives each the caller's", async () => {
    const sampling = { maxTokens: 1, n: 2 };
    const drawn = await engine.generate([kTokens, kTokens], sampling);
    const seeds = drawn.flat().map(({ seed }) => seed);
    expect(seeds).toEqual([seeds[0], seeds[0], seeds[2], seeds[2]]);
    expect(seeds[2]).not.toBe(seeds[0]);
    const given = await engine.generate([kTokens, kTokens], { ...sampling, seed: 7, sampleIndex: 3 });
    expect(given.flat().map(({ seed, sampleIndex }) => [seed, sampleIndex])).toEqual([
      [7, 3],
      [7, 4],
      [7, 3],
      [7, 4],
    ]);
  });

  it("gives many samples in the order of prompts and sample indices", async () => {
    const tokens = (first: number) => ({ tokens: [first, 82, 88] });
    const groups = await engine.generate([tokens(1), tokens(2)], { ...kOne, n: 1500 });
    for (const group of groups)
      expect(group.map(({ sampleIndex }) => sampleIndex)).toEqual(Array.from({ length: 1500 }, (_, k) => k));
    const [alone] = await engine.generate([tokens(2)], kOne);
    expect(new Set(groups[1]!.map(({ text }) => text))).toEqual(new Set([alone!.text]));
  });

  it("is not asked for more logprobs than a result holds", async () => {
    const tokens = Array(2000).fill(5);
    const ids = Array(2001).fill(5);
    await expect(engine.score([kTokens, { tokens }], { tokenIds: ids })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message:
        "prompt[1]: Expected at most 4000000 listed logprobs in one result but 2000 positions with 2001 each make 4002000: " +
        "lower topLogprobs or the number of tokenIds, or raise from",
    });
    const [score] = await engine.score([{ tokens }], { tokenIds: ids, from: 1999 });
    expect(score!.tokenIdLogprobs![0]).toHaveLength(2001);
  });
});

it("refuses more top logprobs than a generation holds, and asks for no more by default", async () => {
  const config = JSON.parse(readFileSync(join(kDemoModel, "config.json"), "utf8"));
  const directory = variant({ "config.json": { ...config, max_position_embeddings: 8192 } });
  const engine = await Engine.load(directory, { threads: 1 });
  const listed = (sampling: SamplingOptions) => engine.generate(kTokens, { ...kEndless, ...sampling });
  const refused = {
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(/lower maxTokens or topLogprobs$/),
  };
  for (const maxTokens of [8000, 10 ** 6])
    await expect(listed({ maxTokens, topLogprobs: 700 })).rejects.toMatchObject(refused);
  expect((await listed({ maxTokens: 2, topLogprobs: 700 })).topLogprobs![1]).toHaveLength(700);
  const any = Array.from({ length: 704 }, (_, id) => id);
  expect((await listed({ maxTokens: undefined, topLogprobs: 700, stopTokenIds: any })).tokens).toHaveLength(
    1,
  );
  await engine.close();
  removeVariants();
});

it("makes a text that cannot be encoded the error of its element", async () => {
  const directory = variant({ "tokenizer.json": undefined });
  const path = join(directory, "tokenizer.json");
  copyFileSync(join(kDemoModel, "tokenizer.json"), path);
  const engine = await Engine.load(directory, { threads: 1 });
  rmSync(path); // the worker, which starts now, cannot read it
  const failed = { tokens: [], error: { code: "NO_TOKENIZER" } };
  const [score, scoreOfText] = await engine.score([kTokens, kLongText]);
  expect(score).toMatchObject(kTokens);
  expect(score!.error).toBeUndefined();
  expect(scoreOfText).toMatchObject(failed);
  const [good, bad] = await engine.generate([kTokens, kLongText], kOne);
  expect(good!.error).toBeUndefined();
  expect(bad).toMatchObject(failed);
  await expect(engine.score(kLongText)).rejects.toMatchObject(failed.error);
  await engine.close();
  removeVariants();
});

it("keeps to a relative path's place when the program changes its directory", async () => {
  const here = process.cwd();
  process.chdir(dirname(kDemoModel));
  const engine = await Engine.load(basename(kDemoModel), { threads: 1 });
  process.chdir("/");
  try {
    const { usage } = await engine.generate(kLongText, kOne); // by the worker, which starts now
    expect(usage.promptTokens).toBeGreaterThan(100);
    expect(engine.directory).toBe(kDemoModel);
  } finally {
    process.chdir(here);
    await engine.close();
  }
});

it("rejects where nothing came of a single prompt, with any n", async () => {
  const engine = await Engine.load(kDemoModel, { threads: 1, maxQueue: 2 });
  const tooLong = { tokens: Array(3000).fill(1) };
  for (const n of [1, 3])
    await expect(engine.generate(tooLong, { n })).rejects.toMatchObject({ code: "PROMPT_TOO_LONG" });
  // The queue holds two, and neither can be done before the third is made.
  const some = await engine.generate(kTokens, { ...kEndless, maxTokens: 500, n: 3 });
  expect(some.map(({ error }) => error?.code)).toEqual([undefined, undefined, "QUEUE_FULL"]);
  await engine.close();
});

it.each<[string, string, (abort: () => void) => void]>([
  ["before the weights are read", "weights", (abort) => abort()],
  ["while they are", "weights", (abort) => setImmediate(abort)],
  ["in its last moment", "ready", (abort) => abort()],
])("a load that is aborted %s rejects with the reason", async (_, at, when) => {
  const controller = new AbortController();
  const reason = new Error("changed my mind");
  const onProgress = ({ phase }: { phase: string }) => {
    if (phase === at) when(() => controller.abort(reason));
  };
  const loading = Engine.load(kDemoModel, { weights: "copy", signal: controller.signal, onProgress });
  await expect(loading).rejects.toBe(reason);
});
