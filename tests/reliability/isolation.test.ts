/** RELIABILITY R15: one request fails, throws or is never read; the others do not notice, to the last bit. */
import { rmSync } from "node:fs";
import { Engine, type Generation } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import {
  between,
  difference,
  kTinyVocab,
  poison,
  resources,
  runChild,
  until,
  whatCounts,
  withEngine,
  writeTinyModel,
} from "./support.js";

const kPoisoned = kTinyVocab - 1;
const kLongContext = 8192;
const model = writeTinyModel(kLongContext);
poison(model, kPoisoned);
afterAll(() => rmSync(model, { recursive: true }));

const random = randomSource(15);
const common = randomTokens(random, 20, kPoisoned); // prompts begin alike: good ones hit the bad one's blocks, too
const good = Array.from({ length: 63 }, (_, i) => ({
  tokens: [
    ...common.slice(0, between(random, 0, 20)),
    ...randomTokens(random, between(random, 1, 40), kPoisoned),
  ],
  // The poisoned token is never drawn: its row of the head is as good as any other, its embedding is not.
  sampling: {
    temperature: i % 2,
    seed: i,
    maxTokens: 24,
    logprobs: true,
    logitBias: { [kPoisoned]: Number.NEGATIVE_INFINITY },
  },
}));
const bad = { tokens: [...common, kPoisoned, 3, 4] };
const load = { threads: 2, kvCacheTokens: 1024, maxContext: 512, maxBatchTokens: 64 };

const generateGood = (engine: Engine) =>
  Promise.all(
    good.map(async ({ tokens, sampling }) => whatCounts(await engine.generate({ tokens }, sampling))),
  );

const clean = withEngine(model, { ...load, prefixCache: false }, generateGood);

/** Runs the 63 good ones beside `body` and compares them with a clean run. */
async function beside(engine: Engine, body: () => Promise<void>): Promise<void> {
  const [generations] = await Promise.all([generateGood(engine), body()]);
  const expected = await clean;
  expect(generations.map((one, i) => difference(expected[i], one)).filter((text) => text !== "")).toEqual([]);
}

describe("63 good requests do not notice", { timeout: 60_000 }, () => {
  it.each([1, 2])("one whose logits are NaN, on %i ranks", async (tensorParallel) => {
    await withEngine(model, { ...load, tensorParallel }, async (engine) => {
      const failed = { code: "NON_FINITE_LOGITS", message: expect.stringMatching(/position 2\d .*NaN/) };
      for (let round = 0; round < 3; ++round)
        await beside(engine, async () => {
          await expect(engine.generate(bad, { temperature: 0, maxTokens: 5 })).rejects.toMatchObject(failed);
          await expect(engine.score(bad)).rejects.toMatchObject({ code: "NON_FINITE_LOGITS" });
          const [first, second] = await engine.generate([bad, { tokens: common }], {
            temperature: 0,
            maxTokens: 2,
          });
          expect(first).toMatchObject({ error: { code: "NON_FINITE_LOGITS" }, tokens: [] });
          expect(second!.error).toBeUndefined();
        });
      const { running, queue, blocks } = engine.stats();
      expect({ running, queue, owned: blocks.owned }).toEqual({ running: 0, queue: 0, owned: 0 });
    });
  });

  it("invalid ones, and ones that can never fit", async () => {
    await withEngine(model, load, (engine) =>
      beside(engine, async () => {
        for (let i = 0; i < 50; ++i) {
          await expect(engine.generate({ tokens: [kTinyVocab] })).rejects.toMatchObject({
            code: "INVALID_ARGUMENT",
          });
          await expect(engine.generate({ tokens: Array(600).fill(1) })).rejects.toMatchObject({
            code: "PROMPT_TOO_LONG",
          });
          await expect(engine.generate({ tokens: [1] }, { temperature: -1 })).rejects.toMatchObject({
            code: "INVALID_ARGUMENT",
          });
        }
      }),
    );
  });

  it("readers that throw", async () => {
    // Their requests would go on for a second: none comes to its end before the abort reaches it.
    const room = { kvCacheTokens: 2 * kLongContext, maxContext: kLongContext };
    await withEngine(model, { ...load, ...room }, (engine) =>
      beside(engine, async () => {
        const { aborts } = engine.stats();
        const options = { temperature: 0, ignoreEos: true, logitBias: good[0]!.sampling.logitBias };
        for (let i = 0; i < 20; ++i) {
          const reader = async () => {
            for await (const _ of engine.stream({ tokens: common }, options)) throw new Error("the reader's");
          };
          await expect(reader()).rejects.toThrow("the reader's");
        }
        await until(() => engine.stats().aborts === aborts + 20, "they are aborted");
      }),
    );
  });

  it("streams that nobody reads, or slowly; they lose nothing", async () => {
    await withEngine(model, load, async (engine) => {
      const options = {
        temperature: 1,
        seed: 3,
        maxTokens: 200,
        logprobs: true,
        logitBias: good[0]!.sampling.logitBias,
      };
      const unread = Array.from({ length: 20 }, () => engine.stream({ tokens: common }, options));
      await beside(engine, async () => {});
      await until(() => engine.stats().running === 0, "the unread ones are done, too");
      const whole = (await engine.generate({ tokens: common }, options)) as Generation;
      for (const stream of unread) {
        const chunks = [];
        for await (const chunk of stream) chunks.push(chunk);
        expect(chunks).toHaveLength(1); // what has piled up comes as one: no queue of chunks grows
        expect(chunks[0]!.tokens).toEqual(whole.tokens);
        expect(chunks[0]!.logprobs).toEqual(whole.logprobs);
      }
    });
  });
});

describe("callbacks that throw", () => {
  const loadWithThrowingProgress = async (phase: string) => {
    await withEngine(model, load, async () => {}); // what is started once, is started
    const before = resources().threads;
    const thrown = new Error("the caller's");
    const onProgress = (progress: { phase: string }) => {
      if (progress.phase === phase) throw thrown;
    };
    await expect(Engine.load(model, { ...load, onProgress })).rejects.toMatchObject({
      code: "CALLBACK_FAILED",
      message: "onProgress threw: the caller's",
      cause: thrown,
    });
    await until(() => resources().threads <= before, "the threads are back", 1_000);
  };

  it("onProgress, before anything runs: the load fails with that cause", () =>
    loadWithThrowingProgress("checkpoint"));

  it.each(["weights", "ready"])(
    "onProgress at '%s': the load fails with that cause, and its threads end",
    (phase) => loadWithThrowingProgress(phase),
  );

  it("an abort signal's other listeners: the engine hears of the abort all the same", async () => {
    const { code, stdout, stderr } = await runChild("throwing-listener", { args: [model] });
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: "abort, 2 exceptions, 3 tokens\n",
      stderr: "",
    });
  });
});
