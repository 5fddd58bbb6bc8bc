/** RELIABILITY R7: 64 requests on a KV pool for four of them. All finish, exactly as they would with room for all. */
import type { Engine, SamplingOptions } from "lockstep";
import { describe, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { between, difference, kDemoModel, kDemoVocab, whatCounts, withEngine } from "./support.js";

const kRequests = 64;
const kLongest = 112; // prompt and output: 7 blocks
const kTight = 4 * kLongest;

const random = randomSource(64);
const requests = Array.from({ length: kRequests }, (_, i) => {
  const prompt = between(random, 1, 48);
  const sampling: SamplingOptions = {
    maxTokens: kLongest - 48 - (i % 8),
    ignoreEos: true,
    logprobs: true,
    ...(i % 2 === 0
      ? { temperature: 0, seed: i }
      : { temperature: 1, topP: 0.95, seed: i, frequencyPenalty: 0.1 }),
  };
  return { tokens: randomTokens(random, prompt, kDemoVocab), sampling };
});

const generateAll = async (engine: Engine) =>
  (await Promise.all(requests.map(({ tokens, sampling }) => engine.generate({ tokens }, sampling)))).map(
    whatCounts,
  );

describe("64 requests on a pool for four", { timeout: 120_000 }, () => {
  const uncontended = withEngine(kDemoModel, { threads: 2, maxSequences: 64 }, async (engine) => {
    const generations = await generateAll(engine);
    expect(engine.stats()).toMatchObject({ preemptions: 0 });
    return generations;
  });

  it.each([
    { prefixCache: true, tensorParallel: 1 },
    { prefixCache: false, tensorParallel: 1 },
    { prefixCache: true, tensorParallel: 2 },
  ])("finish as if there were room for all: %o", async (options) => {
    const expected = await uncontended;
    await withEngine(kDemoModel, { ...options, threads: 2, kvCacheTokens: kTight }, async (engine) => {
      const { blocks } = engine.stats();
      expect(blocks.free).toBe(kTight / 16);
      const generations = await generateAll(engine);
      const differences = expected
        .map((one, i) => difference(one, generations[i]))
        .filter((text) => text !== "");
      expect(differences).toEqual([]);
      for (const generation of generations) expect(generation?.finishReason).toBe("length");
      const stats = engine.stats();
      console.log(`R7 ${JSON.stringify(options)}: ${stats.preemptions} preemptions, ${stats.steps} steps`);
      expect(stats.preemptions).toBeGreaterThan(0);
      // Nobody is preempted more often than others, older than itself or itself, grow by a block; the bound for each
      // one is checked on every step by the model check (scheduler.test.ts).
      expect(stats.preemptions).toBeLessThan(kRequests * 8);
      expect(stats.blocks.owned).toBe(0);
      expect(stats.blocks.free + stats.blocks.cached).toBe(blocks.free);
      expect(stats).toMatchObject({ running: 0, queue: 0 });
    });
  });

  it("refuse, with the numbers, what can never fit, and go on", async () => {
    await withEngine(kDemoModel, { threads: 1, kvCacheTokens: kTight }, async (engine) => {
      expect(engine.maxContext).toBe(kTight);
      const tooLong = { tokens: Array<number>(kTight).fill(1) };
      const { steps } = engine.stats();
      const running = engine
        .generate({ tokens: requests[0]!.tokens }, requests[0]!.sampling)
        .catch(() => undefined);
      await expect(engine.generate(tooLong)).rejects.toMatchObject({
        code: "PROMPT_TOO_LONG",
        message: expect.stringMatching(
          /at most 447 tokens but received 448: the context holds 448 tokens .* 28 blocks/,
        ),
      });
      await expect(engine.score({ tokens: [...tooLong.tokens, 1] })).rejects.toMatchObject({
        code: "PROMPT_TOO_LONG",
      });
      await running;
      const longest = { tokens: tooLong.tokens.slice(1) };
      const generation = await engine.generate(longest, { temperature: 0, ignoreEos: true });
      expect(generation).toMatchObject({ finishReason: "length", usage: { completionTokens: 1 } });
      expect((await engine.score(tooLong)).logprobs).toHaveLength(kTight);
      expect(engine.stats().steps).toBeGreaterThan(steps);
    });
  });

  it("refuse more than maxQueue at once, with the number, and take more afterwards", async () => {
    await withEngine(kDemoModel, { threads: 1, maxQueue: 3 }, async (engine) => {
      const options = { temperature: 0, maxTokens: 20, ignoreEos: true };
      const prompts = Array.from({ length: 5 }, (_, i) => ({ tokens: [i + 1] }));
      const generations = await engine.generate(prompts, options);
      expect(generations.map(({ error }) => error?.code)).toEqual([
        undefined,
        undefined,
        undefined,
        "QUEUE_FULL",
        "QUEUE_FULL",
      ]);
      expect(generations[4]!.error!.message).toMatch(/at most 3 requests .*maxQueue/);
      expect((await engine.generate(prompts.slice(0, 3), options)).map(({ error }) => error)).toEqual(
        Array(3).fill(undefined),
      );
    });
  });
});
