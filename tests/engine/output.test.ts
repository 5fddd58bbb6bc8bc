/** What ends an output and what of it is shown: stop strings and ids, EOS, maxTokens, the context; and streams. */
import { Engine, type Generation, type SamplingOptions, type StreamChunk } from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kDemoModel, kEndless, kTokens, withEngine } from "./support.js";

const kEos = 696; // <|im_end|>
const kChat = { messages: [{ role: "user", content: "Set the garage to 25 degrees" }] };

let engine: Engine;
let full: Generation;
/** The text after each of full's tokens. */
let growth: string[];

beforeAll(async () => {
  engine = await Engine.load(kDemoModel, { threads: 1 });
  full = await engine.generate("Done: the", { ...kEndless, maxTokens: 60 });
  const decode = engine.tokenizer.decodeStream({ skipSpecialTokens: true });
  let text = "";
  growth = full.tokens.map((token) => (text += decode.push(token)));
});
afterAll(() => engine.close());

const generate = (options: object) =>
  engine.generate("Done: the", { ...kEndless, maxTokens: 60, ...options });

describe("stop strings", () => {
  it("are found wherever they lie, also across tokens, and cut exactly", async () => {
    expect(full.text.length).toBeGreaterThan(60);
    for (let from = 0; from < 50; from += 3)
      for (const length of [1, 2, 7, 15]) {
        const stop = full.text.slice(from, from + length);
        const at = full.text.indexOf(stop);
        const last = growth.findIndex((text) => text.includes(stop));
        const generation = await generate({ stop });
        expect(generation, JSON.stringify(stop)).toMatchObject({
          text: full.text.slice(0, at),
          tokens: full.tokens.slice(0, last + 1),
          finishReason: "stop",
          stop,
        });
        const including = await generate({ stop: [stop], includeStop: true });
        expect(including.text).toBe(full.text.slice(0, at + stop.length));
      }
  });

  it("that never come change nothing", async () => {
    const generation = await generate({ stop: ["never in the text", `${full.text.slice(-3)}#`] });
    expect(generation).toMatchObject({ text: full.text, tokens: full.tokens, finishReason: "length" });
    expect(generation.stop).toBeUndefined();
  });

  it("of several, the first to end counts", async () => {
    const [late, early] = [full.text.slice(30, 36), full.text.slice(10, 14)];
    expect((await generate({ stop: [late, early, "zzz"] })).stop).toBe(early);
  });

  it("free the request's place at once", async () => {
    const { generatedTokens } = engine.stats();
    await engine.generate("Done: the", { ...kEndless, stop: full.text.slice(5, 9) });
    expect(engine.stats().generatedTokens - generatedTokens).toBeLessThan(200); // of 2,000 that it might have run on for
  });
});

describe("stop ids", () => {
  it("end the output; the id is in tokens and not in text, unless includeStop", async () => {
    const token = full.tokens[20]!;
    const at = full.tokens.indexOf(token);
    const generation = await generate({ stopTokenIds: [token] });
    const tokens = full.tokens.slice(0, at + 1);
    expect(generation).toMatchObject({ tokens, finishReason: "stop", stop: token });
    expect(generation.text).toBe(engine.tokenizer.decode(full.tokens.slice(0, at)));
    const including = await generate({ stopTokenIds: Int32Array.of(token), includeStop: true });
    expect(including).toMatchObject({ tokens, text: engine.tokenizer.decode(tokens) });
  });

  it("count on the last token allowed, too", async () => {
    const at = full.tokens.indexOf(full.tokens[20]!);
    const options = { stopTokenIds: [full.tokens[20]!], maxTokens: at + 1 };
    expect(await generate(options)).toMatchObject({ finishReason: "stop", stop: full.tokens[20] });
  });
});

describe("EOS", () => {
  it("ends the output and is dropped from text only", async () => {
    const generation = await engine.generate(kChat, { temperature: 0, logprobs: true });
    expect(generation).toMatchObject({ finishReason: "stop", stop: kEos });
    expect(generation.tokens.at(-1)).toBe(kEos);
    expect(generation.tokens.indexOf(kEos)).toBe(generation.tokens.length - 1);
    expect(generation.logprobs).toHaveLength(generation.tokens.length);
    expect(generation.text).not.toContain("<|im_end|>");
    expect(generation.text).toBe(engine.tokenizer.decode(generation.tokens.slice(0, -1)));
  });

  it("is passed over with ignoreEos, and neither masked nor shown", async () => {
    const { tokens: stopped } = await engine.generate(kChat, { temperature: 0 });
    const generation = await engine.generate(kChat, { ...kEndless, maxTokens: stopped.length + 10 });
    expect(generation.tokens.slice(0, stopped.length)).toEqual(stopped);
    expect(generation).toMatchObject({ finishReason: "length" });
    expect(generation.tokens).toHaveLength(stopped.length + 10);
    expect(generation.text).not.toContain("<|im_end|>");
  });
});

describe("length", () => {
  it("is what maxTokens allows", async () => {
    for (const maxTokens of [1, 2, 17]) {
      const generation = await generate({ maxTokens });
      expect(generation).toMatchObject({ tokens: full.tokens.slice(0, maxTokens), finishReason: "length" });
      expect(generation.usage).toMatchObject({ completionTokens: maxTokens, cachedTokens: 0 });
    }
  });

  it("is cut at the context, whatever maxTokens says", async () => {
    await withEngine({ maxContext: 40 }, async (small) => {
      expect(small.maxContext).toBe(40);
      for (const options of [kEndless, { ...kEndless, maxTokens: 1000 }]) {
        const generation = await small.generate(kTokens, options);
        expect(generation.tokens).toHaveLength(40 - kTokens.tokens.length);
        expect(generation.finishReason).toBe("length");
      }
      const longest = { tokens: Array(39).fill(1) };
      expect((await small.generate(longest, kEndless)).tokens).toHaveLength(1);
    });
  });

  it("is cut at the KV cache", async () => {
    await withEngine({ kvCacheTokens: 64 }, async (small) => {
      expect((await small.generate(kTokens, kEndless)).tokens).toHaveLength(64 - kTokens.tokens.length);
    });
  });
});

describe("stream", () => {
  async function collect(
    stream: AsyncIterable<StreamChunk>,
    pause?: () => Promise<unknown>,
  ): Promise<StreamChunk[]> {
    const chunks: StreamChunk[] = [];
    for await (const chunk of stream) {
      chunks.push(chunk);
      await pause?.();
    }
    return chunks;
  }

  const cases: [string, SamplingOptions][] = [
    ["greedy", { ...kEndless, maxTokens: 50, logprobs: true }],
    ["sampled", { temperature: 2, ignoreEos: true, seed: 5, maxTokens: 50, logprobs: true }],
    ["stopped by a string", { ...kEndless, maxTokens: 50, logprobs: true, stop: ["e "] }],
    ["one token", { ...kEndless, maxTokens: 1, logprobs: true }],
  ];

  it.each(cases)("joins to what generate gives: %s", async (_, options) => {
    const expected = await engine.generate("Done: the", { ...options, seed: 5 });
    const pauses = [undefined, () => new Promise((resolve) => setTimeout(resolve, 3))];
    for (const pause of pauses) {
      const chunks = await collect(engine.stream("Done: the", { ...options, seed: 5 }), pause);
      expect(chunks.map(({ text }) => text).join("")).toBe(expected.text);
      expect(chunks.flatMap(({ tokens }) => tokens)).toEqual(expected.tokens);
      expect(chunks.flatMap(({ logprobs }) => logprobs)).toEqual(expected.logprobs);
      expect(chunks.at(-1)!.generation).toEqual(expected);
      expect(chunks.filter(({ generation }) => generation !== undefined)).toHaveLength(1);
    }
  });

  it("shows no stop string, not even its beginning", async () => {
    const stop = full.text.slice(20, 28);
    let shown = "";
    for await (const { text } of engine.stream("Done: the", { ...kEndless, stop })) {
      shown += text;
      expect(full.text.slice(0, full.text.indexOf(stop)).startsWith(shown)).toBe(true);
    }
    expect(shown).toBe(full.text.slice(0, full.text.indexOf(stop)));
  });

  it("needs no reader", async () => {
    engine.stream(kTokens, { ...kEndless, maxTokens: 10 });
    expect((await generate({})).tokens).toEqual(full.tokens);
  });
});
