/** The counters of engine.stats() in which a user sees R6 to R9 at work: each counts what its name says, and nothing else. */
import { rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Engine, LoadOptions } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import { kDemoModel, kTinyVocab, poison, until, withEngine, writeTinyModel } from "./support.js";

const model = writeTinyModel();
const poisoned = writeTinyModel();
poison(poisoned, 0);
afterAll(() => {
  for (const directory of [model, poisoned]) rmSync(directory, { recursive: true });
});

const load: LoadOptions = { threads: 1, kvCacheTokens: 128 };
const greedy = { temperature: 0, ignoreEos: true };
const errorCode = (error: { code: string }) => error.code;
const refused = (call: () => Promise<unknown>) => call().then(() => "no error", errorCode);

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

describe("rejected and failed", () => {
  it("count nothing where nothing goes wrong", () =>
    withEngine(model, load, async (engine) => {
      await engine.generate([{ tokens: [1] }, { tokens: [2] }], { ...greedy, maxTokens: 3, n: 2 });
      await drain(engine.stream({ tokens: [1] }, { signal: AbortSignal.abort() }));
      await expect(engine.score({ tokens: [1] }, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        name: "AbortError",
      });
      const stats = engine.stats();
      expect(stats).toMatchObject({ rejected: {}, failed: {}, aborts: 2 }); // before they reached the engine
      expect("failure" in stats).toBe(false);
    }));

  it("rejected: a call refused whole once, in an array each element, by the code", () =>
    withEngine(model, { ...load, maxQueue: 2 }, async (engine) => {
      const expected: Record<string, number> = {};
      const expectRefused = async (code: string, call: () => Promise<unknown>) => {
        expect(await refused(call)).toBe(code);
        expected[code] = (expected[code] ?? 0) + 1;
        expect(engine.stats().rejected).toEqual(expected);
      };
      const long = { tokens: Array(129).fill(1) };
      const bad = { tokens: [kTinyVocab] };
      await expectRefused("INVALID_ARGUMENT", () => engine.generate({ tokens: [1] }, { topP: 2 }));
      await expectRefused("INVALID_ARGUMENT", () => engine.generate([{ tokens: [1] }, bad, bad]));
      await expectRefused("INVALID_ARGUMENT", () => engine.score(bad));
      await expectRefused("INVALID_ARGUMENT", () => engine.score({ tokens: [1] }, { topLogprobs: -1 }));
      await expectRefused("INVALID_ARGUMENT", () => engine.score([{ tokens: [1] }], { from: 2 }));
      await expectRefused("INVALID_ARGUMENT", async () => engine.stream(bad));
      await expectRefused("INVALID_ARGUMENT", async () => engine.stream({ tokens: [1] }, { n: 2 }));
      await expectRefused("NO_TOKENIZER", () => engine.generate("text"));
      await expectRefused("NO_TOKENIZER", () => engine.generate({ tokens: [1] }, { stop: "x" }));
      await expectRefused("PROMPT_TOO_LONG", () => engine.generate(long));
      await expectRefused("PROMPT_TOO_LONG", () => drain(engine.stream(long)));
      await expectRefused("PROMPT_TOO_LONG", () => engine.score(long));
      // Nothing ends before this turn of the event loop does.
      const four = Array.from({ length: 4 }, () =>
        refused(() => engine.generate({ tokens: [1] }, { maxTokens: 2 })),
      );
      expect(await Promise.all(four)).toEqual(["no error", "no error", "QUEUE_FULL", "QUEUE_FULL"]);
      const generations = await engine.generate([long, { tokens: [1] }, long], { maxTokens: 2 });
      expect(generations.map(({ error }) => error?.code)).toEqual([
        "PROMPT_TOO_LONG",
        undefined,
        "PROMPT_TOO_LONG",
      ]);
      expect(engine.stats().rejected).toEqual({ ...expected, PROMPT_TOO_LONG: 5, QUEUE_FULL: 2 });
      await engine.close();
      expect(await refused(() => engine.score({ tokens: [1] }))).toBe("ENGINE_CLOSED");
      expect(engine.stats()).toMatchObject({ rejected: { ENGINE_CLOSED: 1 }, failed: {} });
    }));

  it("rejected: what the render worker refuses, as anything else", () =>
    withEngine(kDemoModel, load, async (engine) => {
      const messages = [{ role: "user" as const, content: "x".repeat(20_000) }]; // too long to be rendered at once
      const bad = { messages, chatTemplate: "{{ raise_exception('no') }}" };
      for (const call of [
        () => engine.generate(bad),
        () => engine.generate([bad, bad]),
        () => drain(engine.stream(bad)),
        () => engine.score(bad),
        () => engine.score([bad, bad]),
      ])
        expect(await refused(call)).toBe("TEMPLATE_ERROR");
      expect(await refused(() => engine.generate({ messages }))).toBe("PROMPT_TOO_LONG");
      expect(engine.stats()).toMatchObject({
        rejected: { TEMPLATE_ERROR: 5, PROMPT_TOO_LONG: 1 },
        failed: {},
      });
    }));

  it("failed: requests that the engine took and ended in an error", () =>
    withEngine(poisoned, { ...load, kvCacheTokens: 16_384 }, async (engine) => {
      const generations = await engine.generate([{ tokens: [0] }, { tokens: [1] }, { tokens: [0, 1] }], {
        ...greedy,
        maxTokens: 1,
      });
      expect(generations.map(({ error }) => error?.code)).toEqual([
        "NON_FINITE_LOGITS",
        undefined,
        "NON_FINITE_LOGITS",
      ]);
      expect(await refused(() => engine.score({ tokens: [0, 1] }))).toBe("NON_FINITE_LOGITS");
      expect(engine.stats()).toMatchObject({ rejected: {}, failed: { NON_FINITE_LOGITS: 3 } });
      const never = { logitBias: { 0: Number.NEGATIVE_INFINITY } };
      const open = Array.from({ length: 20 }, () =>
        refused(() => engine.generate({ tokens: [1] }, { ...greedy, ...never })),
      );
      await engine.close();
      const closed = (await Promise.all(open)).filter((code) => code === "ENGINE_CLOSED").length;
      expect(closed).toBeGreaterThan(0);
      const stats = engine.stats();
      expect(stats).toMatchObject({ rejected: {}, failed: { NON_FINITE_LOGITS: 3, ENGINE_CLOSED: closed } });
      expect("failure" in stats).toBe(false);
    }));

  it("failure: why the engine answers no request any more", () =>
    withEngine(model, load, async (engine) => {
      const path = join(model, "model.safetensors");
      const { atime, mtimeMs } = statSync(path);
      utimesSync(path, atime, new Date(mtimeMs + 5_000));
      expect(await refused(() => engine.generate({ tokens: [1] }))).toBe("ENGINE_FAILED");
      expect(await refused(() => engine.generate({ tokens: [1] }))).toBe("ENGINE_FAILED");
      expect(engine.stats()).toMatchObject({
        failed: { ENGINE_FAILED: 1 },
        rejected: { ENGINE_FAILED: 1 },
        failure: { code: "ENGINE_FAILED", message: expect.stringContaining("changed while it was in use") },
        deviceBytes: 0,
      });
    }));
});

describe("the prefix cache's", () => {
  const random = randomSource(4);
  const prompt = (length: number) => randomTokens(random, length, kTinyVocab);
  const run = (engine: Engine, tokens: number[]) => engine.generate({ tokens }, { ...greedy, maxTokens: 1 });

  it("prefixHits: all of what can be shared, or a beginning of it", () =>
    withEngine(model, load, async (engine) => {
      const tokens = prompt(40); // two full blocks and a half
      const hits = async (prompt: number[]) => {
        const before = engine.stats().prefixHits;
        await run(engine, prompt);
        const { full, partial } = engine.stats().prefixHits;
        return [full - before.full, partial - before.partial];
      };
      expect(await hits(tokens)).toEqual([0, 0]);
      expect(await hits(tokens)).toEqual([1, 0]);
      expect(await hits([...tokens.slice(0, 20), ...prompt(20)])).toEqual([0, 1]);
      expect(await hits([...tokens.slice(0, 32), ...prompt(17)])).toEqual([0, 1]);
      expect(await hits([...tokens.slice(0, 32), ...prompt(16)])).toEqual([1, 0]); // its last token must be computed
      expect(await hits(tokens.slice(0, 16))).toEqual([0, 0]);
      expect(await hits(prompt(40))).toEqual([0, 0]);
    }));

  it("evictions: one for each cached block that is overwritten", () =>
    withEngine(model, load, async (engine) => {
      expect(engine.stats().blocks.free).toBe(8);
      for (let i = 0; i < 4; ++i) await run(engine, prompt(32)); // two blocks each
      expect(engine.stats()).toMatchObject({ evictions: 0, blocks: { free: 0, cached: 8 } });
      for (let i = 0; i < 2; ++i) await run(engine, prompt(32));
      expect(engine.stats()).toMatchObject({ evictions: 4, blocks: { free: 0, cached: 8 } });
    }));

  it("counts stay at 0 without it", () =>
    withEngine(model, { ...load, prefixCache: false }, async (engine) => {
      const tokens = prompt(100);
      for (let i = 0; i < 3; ++i) await run(engine, tokens);
      expect(engine.stats()).toMatchObject({ prefixHits: { full: 0, partial: 0 }, evictions: 0 });
    }));
});

describe("deviceBytes", () => {
  const deviceBytes = (options: LoadOptions) =>
    withEngine(model, { ...load, ...options }, async (engine) => engine.stats().deviceBytes);
  const kTokenBytes = 2 * 2 * 2 * 2 * 8; // K and V, layers, KV heads, headDim, BF16

  it("is KV cache and workspaces, of all ranks, and copied weights", async () => {
    const bytes = await deviceBytes({});
    expect(bytes).toBeGreaterThan(128 * kTokenBytes);
    expect((await deviceBytes({ kvCacheTokens: 128 + 1600 })) - bytes).toBe(1600 * kTokenBytes);
    const onTwo = { tensorParallel: 2 };
    expect((await deviceBytes({ ...onTwo, kvCacheTokens: 128 + 1600 })) - (await deviceBytes(onTwo))).toBe(
      1600 * kTokenBytes,
    );
    expect(await deviceBytes({ maxBatchTokens: 1024 })).toBeGreaterThan(bytes);
    const weights = (await deviceBytes({ weights: "copy" })) - bytes;
    const file = statSync(join(model, "model.safetensors")).size;
    expect(weights).toBeGreaterThan(0.8 * file); // the rest is the file's header
    expect(weights).toBeLessThan(file);
  });

  it("stays the same at work, and is given back", () =>
    withEngine(model, load, async (engine) => {
      const { deviceBytes } = engine.stats();
      await engine.generate(
        Array.from({ length: 20 }, (_, i) => ({ tokens: [i] })),
        { ...greedy, maxTokens: 50 },
      );
      expect(engine.stats().deviceBytes).toBe(deviceBytes);
      await engine.close();
      expect(engine.stats().deviceBytes).toBe(0);
    }));
});

describe("longestLoopBlockMs", () => {
  const kMs = 300;
  const block = () => {
    const end = performance.now() + kMs;
    while (performance.now() < end);
  };
  const longest = (engine: Engine) => engine.stats().longestLoopBlockMs;

  it("is of turns with work for the engine: none while it is idle", () =>
    withEngine(model, load, async (engine) => {
      await nextTurn();
      block();
      await nextTurn();
      expect(longest(engine)).toBeLessThan(kMs);
      await engine.generate({ tokens: [1] }, { maxTokens: 1 });
      await nextTurn();
      expect(longest(engine)).toBeGreaterThan(0);
      expect(longest(engine)).toBeLessThan(kMs);
    }));

  it.each<[string, (engine: Engine) => Promise<unknown>]>([
    [
      "what a call is given is slow to read",
      (engine) =>
        engine.generate(Object.defineProperty({}, "tokens", { get: block, enumerable: true }) as never),
    ],
    [
      "a reader is slow",
      async (engine) => {
        for await (const _ of engine.stream({ tokens: [1] }, { maxTokens: 1 })) block();
      },
    ],
  ])("tells that the loop was held: %s", (_, body) =>
    withEngine(model, load, async (engine) => {
      await nextTurn();
      expect(longest(engine)).toBeLessThan(kMs);
      await body(engine).catch(() => {});
      await until(() => longest(engine) >= kMs, "the turn is over", 1_000);
      expect(longest(engine)).toBeLessThan(10 * kMs);
    }),
  );
});
