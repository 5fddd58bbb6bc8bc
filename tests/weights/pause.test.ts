/** pause(), continue() and flushCache() at work, idle, and in the wrong order. */
import { setTimeout as sleep } from "node:timers/promises";
import { Engine, type Generation, type RunningMode } from "lockstep";
import { describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens, until, whatCounts, withEngine } from "../reliability/support.js";

const kOptions = { device: "cpu", threads: 2, maxSequences: 4 } as const;
const kSampling = { ...kEndless, logprobs: true, maxTokens: 150, seed: 1 };

/** Six requests on an engine for four at once, when all four have begun. */
async function sixRequests(engine: Engine): Promise<Promise<Generation>[]> {
  const requests = Array.from({ length: 6 }, (_, i) =>
    engine.generate({ tokens: [...kTokens.tokens, i] }, kSampling),
  );
  await until(() => engine.stats().running === 4, "four run");
  return requests;
}

describe("pause", () => {
  const undisturbed = withEngine(kDemoModel, kOptions, async (engine) =>
    Promise.all(await sixRequests(engine)),
  );

  it.each<RunningMode>(["wait", "abort", "continue"])("%s", async (mode) => {
    const expected = (await undisturbed).map(whatCounts);
    await withEngine(kDemoModel, kOptions, async (engine) => {
      const requests = await sixRequests(engine);
      await engine.pause({ mode });
      const { steps, running, queue } = engine.stats();
      expect({ running, queue }).toEqual(
        mode === "continue" ? { running: 4, queue: 2 } : { running: 0, queue: 2 },
      );
      const late = engine.generate(kTokens, kSampling);
      await sleep(20);
      expect(engine.stats()).toMatchObject({ steps, queue: 3 }); // nothing is computed
      engine.continue();
      const generations = await Promise.all(requests);
      const finished = generations.filter(({ finishReason }) => finishReason === "length");
      expect(finished).toHaveLength(mode === "abort" ? 2 : 6);
      generations.forEach((generation, i) => {
        const reference = expected[i]!;
        if (generation.finishReason === "length") expect(whatCounts(generation)).toEqual(reference);
        else expect(generation.tokens).toEqual(reference.tokens!.slice(0, generation.tokens.length));
      });
      expect((await late).finishReason).toBe("length");
    });
  });

  it("that aborts ends scores and embeddings with an error: there is no half of them", async () => {
    await withEngine(kDemoModel, { ...kOptions, maxBatchTokens: 1, prefixCache: false }, async (engine) => {
      const input = { tokens: Array(2000).fill(1) };
      const ended = { code: "ABORTED", message: expect.stringMatching(/mode 'abort'/) };
      const calls = [
        () => expect(engine.score(input)).rejects.toMatchObject(ended),
        () => expect(engine.embed([input])).rejects.toMatchObject(ended),
        async () => expect(await engine.score([input])).toMatchObject([{ logprobs: [], error: ended }]),
      ];
      for (const call of calls) {
        const outcome = call();
        await until(() => engine.stats().running > 0, "it runs");
        await engine.pause({ mode: "abort" });
        await outcome;
        engine.continue();
      }
    });
  });

  it("lets requests be made, aborted and closed upon", async () => {
    const engine = await Engine.load(kDemoModel, kOptions);
    await engine.pause();
    const abort = new AbortController();
    const aborted = engine.generate(kTokens, { ...kSampling, signal: abort.signal });
    const closed = engine.generate(kTokens, kSampling).catch(({ code }) => code);
    await until(() => engine.stats().queue === 2, "both wait");
    abort.abort();
    expect(await aborted).toMatchObject({ finishReason: "abort", tokens: [] });
    await engine.close();
    expect(await closed).toBe("ENGINE_CLOSED");
    await expect(engine.pause()).rejects.toMatchObject({ code: "ENGINE_CLOSED" });
    expect(() => engine.continue()).toThrow(expect.objectContaining({ code: "ENGINE_CLOSED" }));
  });

  it("refuses to wait for requests that it holds, and goes on", async () => {
    await withEngine(kDemoModel, kOptions, async (engine) => {
      const requests = await sixRequests(engine);
      await engine.pause({ mode: "continue" });
      await expect(engine.pause()).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /^Expected mode 'abort' or 'continue', or continue\(\) or wake\(\) first/,
        ),
      });
      await engine.pause({ mode: "abort" }); // those that are held
      expect(engine.stats()).toMatchObject({ running: 0, queue: 2, aborts: 4 });
      engine.continue();
      expect((await Promise.all(requests)).map(({ finishReason }) => finishReason).sort()).toEqual([
        ...Array(4).fill("abort"),
        ...Array(2).fill("length"),
      ]);
    });
  });

  it("is taken back by its signal: while it waits for requests, and for its turn", async () => {
    await withEngine(kDemoModel, kOptions, async (engine) => {
      const abortRequests = new AbortController();
      const endless = engine.generate(kTokens, { ...kEndless, signal: abortRequests.signal });
      await until(() => engine.stats().running === 1, "it runs");
      const [first, second] = [new AbortController(), new AbortController()];
      const pauses = [first, second].map(({ signal }) => engine.pause({ signal }));
      const outcomes = Promise.allSettled(pauses);
      const waiting = engine.generate(kTokens, { ...kSampling, maxTokens: 1 }); // after the call, so it waits
      second.abort("second");
      await expect(pauses[1]).rejects.toBe("second");
      await sleep(20);
      expect(engine.stats().queue).toBe(1); // new ones wait
      first.abort("first");
      await outcomes;
      await expect(pauses[0]).rejects.toBe("first");
      expect((await waiting).finishReason).toBe("length"); // the engine is not paused
      await expect(engine.pause({ signal: AbortSignal.abort("early") })).rejects.toBe("early");
      abortRequests.abort();
      expect((await endless).finishReason).toBe("abort");
    });
  });

  it("rejects when the engine is closed under it", async () => {
    await withEngine(kDemoModel, kOptions, async (engine) => {
      const endless = engine.generate(kTokens, kEndless).catch(({ code }) => code);
      await until(() => engine.stats().running === 1, "it runs");
      const pauses = [engine.pause(), engine.pause()].map((pause) => pause.catch(({ code }) => code));
      await engine.close();
      expect(await Promise.all([endless, ...pauses])).toEqual(Array(3).fill("ENGINE_CLOSED"));
    });
  });

  it.each([
    [{ mode: "stop" }, /'wait' or 'abort' or 'continue' for mode/],
    [{ modus: "wait" }, /did you mean mode\?/],
    [{ signal: 1 }, /an AbortSignal for signal/],
    ["wait", /an object for pause options/],
  ])("refuses %o", async (options, message) => {
    await withEngine(kDemoModel, kOptions, async (engine) => {
      const error = await engine.pause(options as object).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) });
    });
  });
});

it("flushCache() forgets what no request is using", async () => {
  await withEngine(kDemoModel, kOptions, async (engine) => {
    const prompt = { tokens: Array.from({ length: 64 }, (_, i) => i + 1) };
    const cached = async () => (await engine.generate(prompt, { maxTokens: 1, seed: 1 })).usage.cachedTokens;
    expect([await cached(), await cached()]).toEqual([0, 48]);
    const { blocks } = engine.stats();
    expect(blocks.cached).toBe(4);
    await engine.flushCache();
    expect(engine.stats().blocks).toEqual({ free: blocks.free + 4, cached: 0, owned: 0 });
    expect(await cached()).toBe(0);
  });
});
