/** close() in every state: everything open is settled, once, and the memory and threads are given back. */
import { readdirSync } from "node:fs";
import { Engine } from "lockstep";
import { describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens, until, withEngine } from "./support.js";

const load = (options = {}) => Engine.load(kDemoModel, { threads: 2, ...options });
const closed = { code: "ENGINE_CLOSED" };

describe("close", () => {
  it("of an idle engine, twice and at the same time", async () => {
    const engine = await load();
    await Promise.all([engine.close(), engine.close()]);
    await engine.close();
    await engine[Symbol.asyncDispose]();
  });

  it("refuses everything afterwards, by name", async () => {
    const engine = await load();
    await engine.close();
    await expect(engine.generate(kTokens)).rejects.toMatchObject(closed);
    await expect(engine.generate([kTokens])).rejects.toMatchObject(closed);
    await expect(engine.score(kTokens)).rejects.toMatchObject(closed);
    expect(() => engine.stream(kTokens)).toThrow(expect.objectContaining(closed));
  });

  it("refuses from the call on, not from its end", async () => {
    const engine = await load();
    const closing = engine.close();
    await expect(engine.generate(kTokens)).rejects.toMatchObject(closed);
    await closing;
  });

  it("leaves the counts to be read", async () => {
    const engine = await load();
    await engine.generate(kTokens, { ...kEndless, maxTokens: 3 });
    await engine.close();
    expect(engine.stats()).toMatchObject({ generatedTokens: 3, promptTokens: kTokens.tokens.length });
  });

  it("rejects what runs, what waits and what is being encoded", async () => {
    const engine = await load({ maxSequences: 2 });
    const prompts = [kTokens, kTokens, kTokens, "turn on the light", "turn on the light ".repeat(400)];
    const generations = prompts.map((prompt) => engine.generate(prompt, kEndless));
    const settled = Promise.allSettled(generations);
    const score = engine.score(kTokens).then(
      () => "scored",
      ({ code }) => code,
    );
    const array = engine.generate([kTokens, kTokens], kEndless);
    const stream = engine.stream(kTokens, kEndless);
    await until(() => engine.stats().generatedTokens > 4, "tokens come");
    await engine.close();
    for (const outcome of await settled)
      expect(outcome).toMatchObject({ status: "rejected", reason: closed });
    expect(["scored", "ENGINE_CLOSED"]).toContain(await score);
    for (const element of await array) expect(element).toMatchObject({ error: closed });
    const drain = async () => {
      for await (const _ of stream);
    };
    await expect(drain()).rejects.toMatchObject(closed);
  });

  it("keeps what a stream's reader has not read yet", async () => {
    const engine = await load();
    const stream = engine.stream(kTokens, kEndless);
    await until(() => engine.stats().generatedTokens >= 5, "tokens come");
    await engine.close();
    await expect(stream.next()).rejects.toMatchObject(closed);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it("while a prompt is computed takes no longer than a layer or two", async () => {
    const engine = await load({ threads: 1 });
    const generation = engine.generate({ tokens: Array(2000).fill(5) }, kEndless);
    const settled = expect(generation).rejects.toMatchObject(closed);
    await until(() => engine.stats().running === 1, "it runs");
    await engine.close();
    await settled;
  });

  it("comes with `using`-style disposal", async () => {
    const engine = await load();
    const generation = engine.generate(kTokens, kEndless);
    const settled = expect(generation).rejects.toMatchObject(closed);
    await engine[Symbol.asyncDispose]();
    await settled;
  });

  it.skipIf(process.platform !== "linux")("gives the threads back", async () => {
    const threads = () => readdirSync("/proc/self/task").length;
    await withEngine({ threads: 2 }, (engine) => engine.generate(kTokens, { ...kEndless, maxTokens: 2 }));
    const before = threads();
    for (let round = 0; round < 5; ++round)
      await withEngine({ threads: 4 }, (engine) => engine.generate(kTokens, { ...kEndless, maxTokens: 2 }));
    expect(threads()).toBeLessThanOrEqual(before);
  });
});

describe("a load that is given up", () => {
  it("before it begins", async () => {
    await expect(load({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
  });

  it("on the way", async () => {
    const phases: string[] = [];
    const controller = new AbortController();
    const onProgress = ({ phase }: { phase: string }) => {
      phases.push(phase);
      if (phase === "weights") controller.abort();
    };
    await expect(load({ signal: controller.signal, onProgress })).rejects.toMatchObject({
      name: "AbortError",
    });
    expect(phases).toEqual(["checkpoint", "weights"]);
  });

  it("in its last moment, or after it, loads", async () => {
    const controller = new AbortController();
    const engine = await load({ signal: controller.signal });
    controller.abort();
    expect((await engine.generate(kTokens, { ...kEndless, maxTokens: 2 })).tokens).toHaveLength(2);
    await engine.close();
  });
});

it("progress is told in order, with sizes", async () => {
  const seen: { phase: string; loadedBytes: number; totalBytes: number }[] = [];
  await withEngine({ onProgress: (progress) => seen.push(progress) }, async () => {});
  expect(seen.map(({ phase }) => phase)).toEqual(["checkpoint", "weights", "ready"]);
  for (const { totalBytes } of seen) expect(totalBytes).toBeGreaterThan(1e6);
  expect(seen.at(-1)!.loadedBytes).toBe(seen.at(-1)!.totalBytes);
});
