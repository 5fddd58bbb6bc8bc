/** What a checkpoint's small files decide: sampling defaults, EOS, and what works without a tokenizer or a head. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, type LockstepError } from "lockstep";
import { afterAll, describe, expect, it } from "vitest";
import { writeRandomCheckpoint } from "../model/random-checkpoint.js";
import { kDemoModel, kEndless, kNoTokenizer, kTokens, removeVariants, variant } from "./support.js";

afterAll(removeVariants);

const kGenerationConfig = "generation_config.json";

async function using<T>(model: string, body: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load(model, { threads: 1 });
  try {
    return await body(engine);
  } finally {
    await engine.close();
  }
}

describe("sampling defaults come from generation_config.json", () => {
  const run = { seed: 11, maxTokens: 24, ignoreEos: true, logprobs: true };
  /** [the file, the options that must mean the same] */
  const cases: [string, object | undefined, object][] = [
    ["no file: temperature 1", undefined, { temperature: 1, topK: 0, topP: 1 }],
    ["an empty file", {}, { temperature: 1, topK: 0, topP: 1 }],
    ["do_sample alone", { do_sample: true }, { temperature: 1, topK: 0, topP: 1 }],
    [
      "Qwen3's own",
      { do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.95, eos_token_id: [696, 694] },
      { temperature: 0.6, topK: 20, topP: 0.95 },
    ],
    [
      "do_sample: false is greedy, whatever stands beside it",
      { do_sample: false, temperature: 1.5, top_k: 5 },
      kEndless,
    ],
    [
      "no do_sample: the numbers count",
      { temperature: 0.3, top_k: 3 },
      { temperature: 0.3, topK: 3, topP: 1 },
    ],
    ["temperature 0", { do_sample: true, temperature: 0 }, { temperature: 0 }],
    [
      "unknown keys",
      { _from_model_config: true, surprise: { a: [1] } },
      { temperature: 1, topK: 0, topP: 1 },
    ],
    ["nulls", { temperature: null, top_k: null, top_p: null }, { temperature: 1, topK: 0, topP: 1 }],
  ];

  it.each(cases)("%s", async (_, file, same) => {
    const expected = await using(kDemoModel, (engine) => engine.generate(kTokens, { ...run, ...same }));
    await using(variant({ [kGenerationConfig]: file }), async (engine) => {
      const generation = await engine.generate(kTokens, run);
      expect(generation).toMatchObject({
        tokens: expected.tokens,
        samplingLogprobs: expected.samplingLogprobs,
      });
    });
  });

  it("yield to the caller's, one by one", async () => {
    const file = { do_sample: true, temperature: 0.6, top_k: 5, top_p: 0.99 };
    const same = { temperature: 1.2, topK: 5, topP: 0.99 };
    const expected = await using(kDemoModel, (engine) => engine.generate(kTokens, { ...run, ...same }));
    await using(variant({ [kGenerationConfig]: file }), async (engine) => {
      expect((await engine.generate(kTokens, { ...run, temperature: 1.2 })).tokens).toEqual(expected.tokens);
      const { samplingLogprobs } = await engine.generate(kTokens, { ...run, temperature: undefined });
      expect(samplingLogprobs).not.toEqual(expected.samplingLogprobs);
    });
  });

  it("are greedy in the demo, and say so in the logprobs", async () => {
    await using(kDemoModel, async (engine) => {
      const [first, second] = await engine.generate([kTokens, kTokens], { maxTokens: 16, logprobs: true });
      expect(first!.tokens).toEqual(second!.tokens);
      expect(new Set(first!.samplingLogprobs)).toEqual(new Set([0]));
    });
  });
});

describe("EOS", () => {
  const config = JSON.parse(readFileSync(join(kDemoModel, "config.json"), "utf8"));
  const run = { temperature: 0, maxTokens: 30 };
  const generate = (model: string) => using(model, (engine) => engine.generate(kTokens, run));

  it.each([
    ["generation_config.json's", 699, { eos_token_id: "WANTED" }],
    ["generation_config.json's, one of several", 699, { eos_token_id: [700, "WANTED"] }],
    ["config.json's where there is no other file", "WANTED", undefined],
    ["config.json's where the other file is silent", "WANTED", { do_sample: false }],
    ["config.json's, one of several", [700, "WANTED"], undefined],
  ])("is %s", async (_, eos_token_id, generationConfig) => {
    const { tokens } = await using(kDemoModel, (engine) =>
      engine.generate(kTokens, { ...run, ignoreEos: true }),
    );
    const wanted = tokens[3]!;
    const fill = <T>(value: T): T =>
      value === undefined ? value : JSON.parse(JSON.stringify(value).replaceAll('"WANTED"', String(wanted)));
    const model = variant({
      "config.json": fill({ ...config, eos_token_id }),
      [kGenerationConfig]: fill(generationConfig),
    });
    const generation = await generate(model);
    expect(generation).toMatchObject({ finishReason: "stop", stop: wanted });
    expect(generation.tokens).toEqual(tokens.slice(0, tokens.indexOf(wanted) + 1));
  });

  it("is generation_config.json's alone where both files name one", async () => {
    const { tokens } = await using(kDemoModel, (engine) =>
      engine.generate(kTokens, { ...run, ignoreEos: true }),
    );
    const model = variant({
      "config.json": { ...config, eos_token_id: tokens[3] },
      [kGenerationConfig]: { do_sample: false, eos_token_id: 703 },
    });
    expect(await generate(model)).toMatchObject({ tokens, finishReason: "length" });
  });
});

describe("without tokenizer files", () => {
  const model = variant(kNoTokenizer);
  const refused = expect.objectContaining({ code: "NO_TOKENIZER" });

  it("ids work: generate, stream, score", async () => {
    const options = { ...kEndless, maxTokens: 12, logprobs: true };
    const expected = await using(kDemoModel, (engine) => engine.generate(kTokens, options));
    await using(model, async (engine) => {
      const generation = await engine.generate(kTokens, options);
      expect(generation).toMatchObject({ text: "", tokens: expected.tokens, logprobs: expected.logprobs });
      const streamed: number[] = [];
      for await (const { text, tokens } of engine.stream(kTokens, options)) {
        expect(text).toBe("");
        streamed.push(...tokens);
      }
      expect(streamed).toEqual(expected.tokens);
      expect((await engine.score(kTokens)).logprobs).toHaveLength(kTokens.tokens.length);
    });
  });

  it("text is refused by name, and ids go on working", async () => {
    await using(model, async (engine) => {
      const messages = [{ role: "user", content: "hello" }];
      for (const prompt of ["hello", { text: "hello" }, { messages }, { messages, chatTemplate: "x" }]) {
        await expect(engine.generate(prompt)).rejects.toEqual(refused);
        await expect(engine.score(prompt)).rejects.toEqual(refused);
        expect(() => engine.stream(prompt)).toThrow(refused);
      }
      await expect(engine.generate(kTokens, { stop: "." })).rejects.toEqual(refused);
      expect(() => engine.tokenizer).toThrow(refused);
      expect((await engine.generate(kTokens, { stop: [], maxTokens: 1 })).tokens).toHaveLength(1);
    });
  });

  it("and without generation_config.json, a bare checkpoint works on ids", async () => {
    const bare = variant({
      ...kNoTokenizer,
      [kGenerationConfig]: undefined,
      "chat_template.jinja": undefined,
    });
    await using(bare, async (engine) => {
      const generation = await engine.generate(kTokens, { maxTokens: 5, ignoreEos: true });
      expect(generation.tokens).toHaveLength(5);
      expect(generation.seed).toBeGreaterThanOrEqual(0);
    });
  });

  it("but with a broken one, loading fails by name instead of going on without", async () => {
    const broken = variant({ "tokenizer.json": { version: "1.0" } });
    await expect(Engine.load(broken)).rejects.toMatchObject({
      name: "LockstepError",
      message: /tokenizer\.json/,
    });
  });
});

describe("without a chat template", () => {
  it("messages are refused by name; text works; a template of one's own works", async () => {
    await using(variant({ "chat_template.jinja": undefined }), async (engine) => {
      const messages = [{ role: "user", content: "hello" }];
      await expect(engine.generate({ messages })).rejects.toMatchObject({ code: "TEMPLATE_ERROR" });
      const chatTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}";
      const [own, text] = await engine.generate([{ messages, chatTemplate }, "hello"], {
        ...kEndless,
        maxTokens: 5,
      });
      expect(own!.tokens).toEqual(text!.tokens);
    });
  });
});

describe("without a head", () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-headless-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const shape = {
    layers: 1,
    hidden: 32,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    mlp: 48,
    vocab: 64,
    context: 128,
    tied: false,
  };

  it("generate and score are refused by name, and embed works", async () => {
    writeRandomCheckpoint(directory, shape, {
      edit: (tensors) => {
        tensors.delete("lm_head.weight");
        for (const [name, tensor] of [...tensors]) {
          tensors.delete(name);
          tensors.set(name.replace("model.", ""), tensor);
        }
      },
    });
    const codeOf = (promise: Promise<unknown>) =>
      promise.then(
        () => "accepted",
        ({ code }: LockstepError) => code,
      );
    await using(directory, async (engine) => {
      expect(await codeOf(engine.generate(kTokensBelow64))).toBe("NOT_SUPPORTED");
      expect(() => engine.stream(kTokensBelow64)).toThrow(expect.objectContaining({ code: "NOT_SUPPORTED" }));
      expect(await codeOf(engine.score(kTokensBelow64))).toBe("NOT_SUPPORTED");
      const vectors = await engine.embed([kTokensBelow64, kTokensBelow64], { pooling: "mean" });
      expect(Math.hypot(...vectors[0]!)).toBeCloseTo(1, 6);
      expect(vectors[1]).toEqual(vectors[0]);
    });
  });
});

const kTokensBelow64 = { tokens: [1, 2, 3] };
