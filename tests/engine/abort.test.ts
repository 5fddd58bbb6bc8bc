/** Aborting: at every moment it resolves with what exists, gives the blocks back and disturbs nobody else. */
import { getEventListeners } from "node:events";
import { Engine, type Generation } from "lockstep";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens, until } from "./support.js";

let engine: Engine;
let free: number;
let full: Generation;

beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { maxSequences: 4, threads: 1 });
  free = engine.stats().blocks.free;
  full = await engine.generate(kTokens, { ...kEndless, maxTokens: 400 });
});
afterAll(() => engine.close());
afterEach(async () => {
  await until(() => engine.stats().running + engine.stats().queue === 0, "nothing runs");
  const { blocks } = engine.stats();
  expect(blocks).toMatchObject({ free: free - blocks.cached, owned: 0 });
  expect((await engine.generate(kTokens, { ...kEndless, maxTokens: 8 })).tokens).toEqual(
    full.tokens.slice(0, 8),
  );
});

function expectPartial(generation: Generation, tokens: number): void {
  expect(generation.finishReason).toBe("abort");
  expect(generation.error).toBeUndefined();
  expect(generation.tokens).toEqual(full.tokens.slice(0, generation.tokens.length));
  expect(generation.tokens.length).toBeGreaterThanOrEqual(tokens);
  expect(generation.usage.completionTokens).toBe(generation.tokens.length);
  expect(full.text.startsWith(generation.text)).toBe(true);
}

describe("abort", () => {
  it.each([
    ["tokens", kTokens],
    ["a text", "turn on the light"],
    ["a text for the worker thread", "turn on the light ".repeat(400)],
    ["messages", { messages: [{ role: "user", content: "turn on the light" }] }],
  ])("before anything is submitted, of %s", async (_, prompt) => {
    const generation = await engine.generate(prompt, { signal: AbortSignal.abort() });
    expect(generation).toMatchObject({ text: "", tokens: [], finishReason: "abort" });
  });

  it("while a long text is encoded", async () => {
    const controller = new AbortController();
    const text = "turn on the light ".repeat(300);
    const promise = engine.generate(text, { signal: controller.signal });
    controller.abort();
    const generation = await promise;
    expect(generation).toMatchObject({ tokens: [], finishReason: "abort" });
    // Its tokens are never counted, and what was handed out does not change any more.
    await engine.generate(text, { maxTokens: 1 }); // the encoder takes texts in turn
    expect(generation.usage).toEqual({ promptTokens: 0, completionTokens: 0, cachedTokens: 0 });
  });

  it("in the queue", async () => {
    const controller = new AbortController();
    const running = Array.from({ length: 4 }, () => engine.generate(kTokens, { ...kEndless, maxTokens: 60 }));
    const waiting = engine.generate(kTokens, { ...kEndless, signal: controller.signal });
    await until(() => engine.stats().queue === 1, "one waits");
    controller.abort();
    expect(await waiting).toMatchObject({ text: "", tokens: [], finishReason: "abort" });
    for (const generation of await Promise.all(running))
      expect(generation.tokens).toEqual(full.tokens.slice(0, 60));
  });

  it("in the middle", async () => {
    const { aborts } = engine.stats();
    const controller = new AbortController();
    const stream = engine.stream(kTokens, { ...kEndless, signal: controller.signal });
    let generation: Generation | undefined;
    let seen = 0;
    for await (const chunk of stream) {
      seen += chunk.tokens.length;
      if (seen >= 10) controller.abort();
      generation = chunk.generation;
    }
    expectPartial(generation!, 10);
    expect(generation!.tokens.length).toBe(seen);
    expect(engine.stats().aborts).toBe(aborts + 1);
  });

  it("in the middle of a long prompt", async () => {
    const controller = new AbortController();
    const tokens = Array.from({ length: 2000 }, (_, i) => (i * 37) % 690);
    const { steps } = engine.stats();
    const generation = engine.generate({ tokens }, { ...kEndless, signal: controller.signal });
    await until(() => engine.stats().steps > steps, "its first chunk is computed");
    controller.abort();
    expect(await generation).toMatchObject({ tokens: [], finishReason: "abort" });
  });

  it("twice, by the signal and by leaving", async () => {
    const controller = new AbortController();
    const stream = engine.stream(kTokens, { ...kEndless, signal: controller.signal });
    await stream.next();
    controller.abort();
    controller.abort();
    await stream.return!();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await stream.return!();
  });

  it("after the end, which changes nothing", async () => {
    const { aborts } = engine.stats();
    const controller = new AbortController();
    const generation = await engine.generate(kTokens, {
      ...kEndless,
      maxTokens: 5,
      signal: controller.signal,
    });
    controller.abort();
    expect(generation.finishReason).toBe("length");
    expect(engine.stats().aborts).toBe(aborts);
  });

  it("of one among others", async () => {
    const controller = new AbortController();
    const others = [1, 2, 3].map(() => engine.generate(kTokens, { ...kEndless, maxTokens: 100 }));
    const one = engine.generate(kTokens, { ...kEndless, signal: controller.signal });
    await until(() => engine.stats().running === 4, "all four run");
    controller.abort();
    expectPartial(await one, 0);
    for (const generation of await Promise.all(others))
      expect(generation.tokens).toEqual(full.tokens.slice(0, 100));
  });

  it("of an array, whose elements all end", async () => {
    const controller = new AbortController();
    const generations = engine.generate([kTokens, kTokens, kTokens, kTokens, kTokens, kTokens], {
      ...kEndless,
      signal: controller.signal,
    });
    await until(() => engine.stats().running === 4, "four run");
    controller.abort();
    for (const generation of await generations) expectPartial(generation, 0);
  });
});

describe("leaving a stream's loop", () => {
  it("aborts the request", async () => {
    const { aborts } = engine.stats();
    let chunks = 0;
    for await (const _ of engine.stream(kTokens, kEndless)) if (++chunks === 3) break;
    await until(() => engine.stats().running === 0, "the request is gone");
    expect(engine.stats().aborts).toBe(aborts + 1);
  });

  it("aborts it when the loop's body throws, too", async () => {
    const { aborts } = engine.stats();
    const loop = async () => {
      for await (const _ of engine.stream(kTokens, kEndless)) throw new Error("the reader's");
    };
    await expect(loop()).rejects.toThrow("the reader's");
    await until(() => engine.stats().aborts === aborts + 1, "the request is aborted");
  });

  it("aborts it before the first chunk, and before the text is encoded", async () => {
    for (const prompt of [kTokens, "turn on the light ".repeat(400)]) {
      const stream = engine.stream(prompt, kEndless);
      await stream.return!();
      expect(await stream.next()).toEqual({ done: true, value: undefined });
    }
  });
});

describe("an AbortSignal that serves many requests", () => {
  const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length;

  it("keeps no listener of a request that has ended", async () => {
    const { signal } = new AbortController();
    await engine.generate(kTokens, { ...kEndless, maxTokens: 3, signal });
    await engine.generate("turn on the light", { ...kEndless, maxTokens: 3, signal });
    await engine.generate({ tokens: Array(3000).fill(1) }, { signal }).catch(() => {});
    for await (const _ of engine.stream(kTokens, { ...kEndless, signal })) break;
    await until(() => engine.stats().running === 0, "nothing runs");
    await until(() => listeners(signal) === 0, "no listener is left");
  });

  it("keeps none of a stream that was left while its text was encoded", async () => {
    const { signal } = new AbortController();
    const stream = engine.stream("turn on the light ".repeat(300), { ...kEndless, signal });
    await stream.return!();
    await engine.generate("turn on the light ".repeat(300), { ...kEndless, maxTokens: 1 }); // encoded after it
    expect(listeners(signal)).toBe(0);
  });

  it("serves an array of many without Node's warning of a leak", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    const { signal } = new AbortController();
    await engine.generate(Array(40).fill(kTokens), { ...kEndless, maxTokens: 1, signal });
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", listen);
    expect(warnings).toEqual([]);
  });

  it("ends a score, too", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(engine.score(kTokens, { signal })).rejects.toThrow();
  });
});
