/** RELIABILITY R12: the host's event loop while the engine generates and takes in prompts of any size. Wide margins. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { removeVariants, variant } from "../api/support.js";
import { kDemoModel, kEndless, kTokens } from "./support.js";

const kP99Ms = 50;
const kMaxMs = 250;
const kMegabyte = 2 ** 20;

/** Runs `body` and tells how long the loop was held up. */
async function delays(name: string, body: () => Promise<unknown>): Promise<{ p99: number; max: number }> {
  const histogram = monitorEventLoopDelay({ resolution: 2 });
  histogram.enable();
  await sleep(20);
  await body();
  await sleep(20);
  histogram.disable();
  const [p99, max] = [histogram.percentile(99) / 1e6, histogram.max / 1e6];
  console.log(`R12 ${name}: p99 ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms, ${histogram.count} samples`);
  return { p99, max };
}

describe("the event loop stays free", { timeout: 120_000 }, () => {
  let engine: Engine;
  let roomy: Engine; // with a context that a megabyte might fit, for all that its length says: so it is encoded
  beforeAll(async () => {
    const config = JSON.parse(await readFile(join(kDemoModel, "config.json"), "utf8"));
    const model = variant({ "config.json": { ...config, max_position_embeddings: 2 ** 16 } });
    engine = await Engine.load(kDemoModel, { threads: 1 });
    roomy = await Engine.load(model, { threads: 1, kvCacheTokens: 2 ** 16 });
    await engine.generate("warm up", { maxTokens: 2 });
  });
  afterAll(async () => {
    await engine.close();
    await roomy.close();
    removeVariants();
  });

  const random = (length: number, pick: () => string) => Array.from({ length }, pick).join("");
  const kLong: [string, string][] = [
    ["a million times the same letter", "a".repeat(kMegabyte)],
    [
      "a megabyte of emoji",
      random(kMegabyte / 4, () => String.fromCodePoint(0x1f600 + Math.floor(Math.random() * 64))),
    ],
    ["a megabyte of prose", "turn on the light in the kitchen, please. ".repeat(kMegabyte / 42)],
  ];

  it("while 64 sequences are generated and streamed", async () => {
    const { p99, max } = await delays("64 sequences", async () => {
      const reader = async () => {
        for await (const _ of engine.stream(kTokens, {
          ...kEndless,
          maxTokens: 150,
          logprobs: true,
          topLogprobs: 5,
        }));
      };
      await Promise.all(Array.from({ length: 64 }, reader));
    });
    expect(p99).toBeLessThan(kP99Ms);
    expect(max).toBeLessThan(kMaxMs);
  });

  it.each(kLong)("while a prompt is encoded: %s", async (name, text) => {
    const generating = engine.generate(kTokens, { ...kEndless, maxTokens: 400 });
    const { p99, max } = await delays(name, async () => {
      await expect(roomy.generate(text)).rejects.toThrow(/at most 65535 tokens but received \d+:/);
    });
    await generating;
    expect(p99).toBeLessThan(kP99Ms);
    expect(max).toBeLessThan(kMaxMs);
  });

  it("while 500 texts are encoded, each short enough for the calling thread", async () => {
    const letters = () => String.fromCharCode(97 + Math.floor(Math.random() * 26));
    const prompts = Array.from({ length: 500 }, () => random(4_000, letters));
    const { max } = await delays("500 texts", async () => {
      const generations = await engine.generate(prompts, { maxTokens: 1 });
      expect(generations).toHaveLength(prompts.length);
      const scores = await engine.score(prompts);
      expect(scores).toHaveLength(prompts.length);
    });
    expect(max).toBeLessThan(kMaxMs);
  });

  it("while 500 conversations are rendered", async () => {
    const messages = Array.from({ length: 60 }, (_, i) => ({
      role: i % 2 ? "assistant" : "user",
      content: "turn on the light in the kitchen, please. ".repeat(5),
    }));
    const { max } = await delays("500 conversations", () =>
      engine.generate(Array(500).fill({ messages }), { maxTokens: 1 }),
    );
    expect(max).toBeLessThan(kMaxMs);
  });

  const kConversation = (count: number, content: string) => ({
    messages: Array.from({ length: count }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content })),
  });

  it("while one long conversation is rendered, and refused or scored", async () => {
    const { max } = await delays("4,000 messages", async () => {
      const long = kConversation(4_000, "turn on the light in the kitchen, please.");
      await expect(engine.generate(long)).rejects.toMatchObject({ code: "PROMPT_TOO_LONG" });
      const [short, failed] = await engine.score([kConversation(1, "hi"), long]);
      expect([short!.error, failed!.error?.code]).toEqual([undefined, "PROMPT_TOO_LONG"]);
    });
    expect(max).toBeLessThan(kMaxMs);
  });

  it.each([
    ["loops", "{% for i in range(1000000) %}{% for j in range(1000000) %}{{ j }}{% endfor %}{% endfor %}"],
    ["output", "{% for i in range(1000000) %}{{ messages[0].content|replace('x','y') }}...{% endfor %}"],
    [
      "nested lists",
      "{% set n = namespace(x=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    ],
  ])("while a template wastes time: %s", { timeout: 60_000 }, async (name, chatTemplate) => {
    const hostile = { ...kConversation(1, "x".repeat(2_000)), chatTemplate };
    const generating = engine.generate(kTokens, { ...kEndless, maxTokens: 400 });
    const { max } = await delays(name, async () => {
      const refusal = { code: "TEMPLATE_ERROR", message: expect.stringContaining("prompt[1]: ") };
      await expect(engine.generate(["hi", hostile])).rejects.toMatchObject(refusal);
      await expect(engine.stream(hostile).next()).rejects.toMatchObject({ code: "TEMPLATE_ERROR" });
    });
    await generating;
    expect(max).toBeLessThan(kMaxMs);
  });

  it("while 20,000 samples are asked for at once", async () => {
    const { max } = await delays("20,000 samples", async () => {
      const samples = await engine.generate(kTokens, { maxTokens: 1, n: 20_000 });
      expect(samples).toHaveLength(20_000);
    });
    expect(max).toBeLessThan(kMaxMs);
  });

  it("while 300,000 prompts are taken in, for nothing", async () => {
    const prompts = Array(300_000).fill(kTokens);
    const { max } = await delays("300,000 prompts", async () => {
      const generations = await engine.generate(prompts, { signal: AbortSignal.abort() });
      expect(generations).toHaveLength(prompts.length);
    });
    expect(max).toBeLessThan(kMaxMs);
  });

  it("while 500 requests are submitted and scored", async () => {
    const { p99, max } = await delays("500 requests", async () => {
      const tokens = Array.from({ length: 60 }, (_, i) => i);
      for (let i = 0; i < 5; ++i) {
        await Promise.all(
          Array.from({ length: 100 }, (_, k) =>
            engine.score({ tokens: [i, k, ...tokens] }, { topLogprobs: 3 }),
          ),
        );
      }
    });
    expect(p99).toBeLessThan(kP99Ms);
    expect(max).toBeLessThan(kMaxMs);
  });
});

it("stays free while a score with long lists is handed over", { timeout: 60_000 }, async () => {
  const engine = await Engine.load(kDemoModel, { threads: 1 });
  const inputs = Array.from({ length: 4 }, () => ({ tokens: Array(1500).fill(5) as number[] }));
  const { p99, max } = await delays("scores of 700 a position", async () => {
    const scores = await engine.score(inputs, { topLogprobs: 700 });
    expect(scores.every(({ topLogprobs }) => topLogprobs![1499]!.length === 700)).toBe(true);
  });
  await engine.close();
  expect(p99).toBeLessThan(kP99Ms);
  expect(max).toBeLessThan(kMaxMs);
});

/** Of Qwen3's size: 151,000 tokens, as many merges. Its JSON alone takes 0.15 s to parse (2 cores, Node 20, 2026-11). */
it("is held by a large tokenizer no longer than its JSON takes", { timeout: 60_000 }, async () => {
  const { Tokenizer } = await import("lockstep");
  const { bytes, directory } = await writeLargeTokenizer();
  const start = performance.now();
  JSON.parse(bytes);
  const parsing = performance.now() - start;
  const { max } = await delays("a tokenizer of 151,000 tokens", () => Tokenizer.fromDirectory(directory));
  rmSync(directory, { recursive: true });
  expect(max).toBeLessThan(4 * parsing + kMaxMs);
});

async function writeLargeTokenizer(): Promise<{ bytes: string; directory: string }> {
  const json = JSON.parse(await readFile(join(kDemoModel, "tokenizer.json"), "utf8"));
  const letters = Object.keys(json.model.vocab).filter((token) => token.length === 1);
  json.model.merges = [];
  let id =
    1 +
    Math.max(
      ...[...Object.values<number>(json.model.vocab), ...json.added_tokens.map((t: { id: number }) => t.id)],
    );
  for (const a of letters)
    for (const b of letters)
      for (const c of ["", ...letters])
        if (id < 151_000 && json.model.vocab[a + b + c] === undefined) {
          json.model.vocab[a + b + c] = id++;
          json.model.merges.push(c === "" ? [a, b] : [a + b, c]);
        }
  const directory = mkdtempSync(join(tmpdir(), "lockstep-tokenizer-"));
  const bytes = JSON.stringify(json);
  writeFileSync(join(directory, "tokenizer.json"), bytes);
  return { bytes, directory };
}
