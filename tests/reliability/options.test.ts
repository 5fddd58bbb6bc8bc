/**
 * RELIABILITY R13: whatever a caller passes, he gets a typed error before anything native runs, or what the option says.
 * Random keys and values; the engine behind them must neither fail nor change.
 */
import { rmSync } from "node:fs";
import fc from "fast-check";
import {
  Engine,
  type Generation,
  LockstepError,
  measureFloors,
  samplingDistribution,
  Tokenizer,
} from "lockstep";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { placeRanks } from "../../src/devices.js";
import { checkLoadOptions, engineLimits } from "../../src/options.js";
import {
  hostileOptionsOf,
  kLoadKeys,
  kPromptKeys,
  kSamplingKeys,
  kScoreKeys,
  optionsOf,
  values,
} from "./odd-options.js";
import { kDemoModel, kTinyVocab, runChild, whatCounts, writeTinyModel } from "./support.js";

const kCallersCodes = ["INVALID_ARGUMENT", "NOT_SUPPORTED", "NO_TOKENIZER"];

function expectTyped(error: unknown): void {
  if (!(error instanceof LockstepError)) throw error;
  expect(kCallersCodes).toContain(error.code);
  expect(error.message).toMatch(
    /^(prompt\[\d+\]: )?Expected .* but (received |reading it threw: )|is not supported by this version|has no tokenizer/s,
  );
  expect(error.message.length).toBeLessThan(1000);
}

describe("any options", { timeout: 120_000 }, () => {
  const model = writeTinyModel();
  let engine: Engine;
  const counts = { typed: 0, worked: 0, ended: 0 }; // ended: aborted, too long, or with nothing left to draw
  const probe = { temperature: 1, seed: 5, maxTokens: 4, logprobs: true };
  let before: unknown;

  beforeAll(async () => {
    engine = await Engine.load(model, { threads: 1, maxBatchTokens: 64 });
    before = whatCounts((await engine.generate({ tokens: [1, 2, 3] }, probe)) as Generation);
  });
  afterAll(async () => {
    await engine.close();
    rmSync(model, { recursive: true });
  });

  /** Runs one call; where it throws, nothing native may have run. */
  async function attempt(call: () => Promise<unknown>): Promise<unknown> {
    const { steps, promptTokens } = engine.stats();
    try {
      const result = await call();
      ++counts.worked;
      return result;
    } catch (error) {
      const { name, code } = error as { name: string; code: string };
      if (name === "AbortError" || ["NON_FINITE_LOGITS", "PROMPT_TOO_LONG"].includes(code)) {
        ++counts.ended;
        return undefined;
      }
      expectTyped(error);
      expect(engine.stats()).toMatchObject({ steps, promptTokens });
      ++counts.typed;
      return undefined;
    }
  }

  /** Thousands of samples are allowed, and take their time. */
  const cheap = (options: Record<string, unknown>) =>
    !(Number(options.n) > 32 && Number.isInteger(options.n));

  it("of generate", async () => {
    const property = fc.asyncProperty(optionsOf(kSamplingKeys), async (options) => {
      fc.pre(typeof options.n === "symbol" || typeof options.n !== "number" || cheap(options));
      const given = "maxTokens" in options || "minTokens" in options ? options : { ...options, maxTokens: 2 };
      if (Object.hasOwn(options, "__proto__"))
        Object.defineProperty(given, "__proto__", { value: 1, enumerable: true });
      const result = await attempt(() => engine.generate({ tokens: [1, 2, 3] }, given as never));
      if (result === undefined) return;
      for (const generation of [result].flat() as Generation[]) {
        expect(generation.error).toBeUndefined();
        for (const token of generation.tokens) expect(token >= 0 && token < kTinyVocab).toBe(true);
        for (const logprob of generation.logprobs ?? [])
          expect(logprob <= 0 && Number.isFinite(logprob)).toBe(true);
      }
    });
    await fc.assert(property, { numRuns: 5_000, seed: 13 });
  });

  it("of stream and score", async () => {
    const property = fc.asyncProperty(
      optionsOf(kSamplingKeys),
      optionsOf(kScoreKeys),
      async (sampling, scoring) => {
        fc.pre(cheap({ n: typeof sampling.n === "number" ? sampling.n : 0 }));
        await attempt(async () => {
          const given = "maxTokens" in sampling ? sampling : { maxTokens: 3, ...sampling };
          for await (const _ of engine.stream({ tokens: [4] }, given as never));
        });
        await attempt(() => engine.score({ tokens: [1, 2, 3] }, scoring as never));
      },
    );
    await fc.assert(property, { numRuns: 2_000, seed: 14 });
  });

  it("of a prompt", async () => {
    const property = fc.asyncProperty(fc.oneof(values, optionsOf(kPromptKeys)), async (prompt) => {
      fc.pre(!Array.isArray(prompt));
      await attempt(() => engine.generate(prompt as never, { maxTokens: 1 }));
    });
    await fc.assert(property, { numRuns: 2_000, seed: 15 });
  });

  it("of samplingDistribution", () => {
    const logits = [1, 2, 3, 4];
    const property = fc.property(
      optionsOf(kSamplingKeys),
      values,
      fc.boolean(),
      (options, other, asHistory) => {
        try {
          const result = samplingDistribution(
            (asHistory ? logits : other) as never,
            options as never,
            (asHistory ? other : []) as never,
          );
          const sum = result.reduce((a, b) => a + b, 0);
          expect(Number.isNaN(sum) || Math.abs(sum - 1) < 1e-5).toBe(true); // NaN: everything is banned
          ++counts.worked;
        } catch (error) {
          if ((error as LockstepError).code === "NON_FINITE_LOGITS") return void ++counts.ended;
          expectTyped(error);
          ++counts.typed;
        }
      },
    );
    fc.assert(property, { numRuns: 2_000, seed: 16 });
  });

  it("of Engine.load", () => {
    const config = {
      maxContext: 512,
      numHeads: 4,
      numKvHeads: 2,
      intermediateSize: 48,
      numLayers: 2,
      headDim: 8,
    };
    const gpu = { name: "a GPU", computeCapability: "9.0", totalBytes: 2 ** 36, peers: [true, true] };
    const property = fc.property(optionsOf(kLoadKeys), fc.boolean(), (options, withCuda) => {
      try {
        const { device, tensorParallel, ...rest } = checkLoadOptions(options);
        const cuda = { usable: withCuda, reason: "none here", devices: withCuda ? [gpu, gpu] : [] };
        const placement = placeRanks(device, tensorParallel, () => cuda);
        const { devices, ...limits } = engineLimits(rest, { config } as never, 16, placement);
        expect([0, withCuda ? limits.ranks : 0]).toContain(devices.length);
        const onDevice = devices.length > 0; // then the number of blocks may be left to memoryFraction
        for (const [name, value] of Object.entries(limits))
          expect(
            Number.isInteger(value) && value >= (name === "numBlocks" && onDevice ? 0 : 1),
            `${name} ${value}`,
          ).toBe(true);
        expect(limits.maxContext).toBeLessThanOrEqual(Math.min(512, limits.numBlocks * 16 || 512));
        ++counts.worked;
      } catch (error) {
        expect(error).toMatchObject({ name: "LockstepError" }); // src's class, not the built one's
        expect([...kCallersCodes, "OUT_OF_MEMORY"]).toContain((error as LockstepError).code);
        ++counts.typed;
      }
    });
    fc.assert(property, { numRuns: 3_000, seed: 17 });
  });

  it("of generate, stream and score, that throw when they are read", async () => {
    const given = [hostileOptionsOf(kSamplingKeys), hostileOptionsOf(kScoreKeys)] as const;
    const property = fc.asyncProperty(...given, async (sampling, scoring) => {
      await attempt(() => engine.generate({ tokens: [1, 2, 3] }, sampling() as never));
      await attempt(async () => {
        for await (const _ of engine.stream({ tokens: [4] }, sampling() as never));
      });
      await attempt(() => engine.score({ tokens: [1, 2, 3] }, scoring() as never));
    });
    await fc.assert(property, { numRuns: 1_000, seed: 18 });
  });

  it("of Engine.load, that throw when they are read", async () => {
    const property = fc.asyncProperty(hostileOptionsOf(kLoadKeys), async (make) => {
      await attempt(() => Engine.load(model, make() as never).then((loaded) => loaded.close()));
    });
    await fc.assert(property, { numRuns: 1_000, seed: 19 });
  });

  it("of samplingDistribution, measureFloors and applyChatTemplate, and prompts, that throw when they are read", async () => {
    const tokenizer = await Tokenizer.fromDirectory(kDemoModel);
    const messages = [{ role: "user" as const, content: "hi" }];
    const given = [
      hostileOptionsOf(kSamplingKeys),
      hostileOptionsOf(["threads", "bufferBytes"]),
      hostileOptionsOf(kPromptKeys),
    ] as const;
    const property = fc.asyncProperty(...given, async (sampling, floors, prompt) => {
      await attempt(async () => samplingDistribution([1, 2, 3, 4], sampling() as never));
      await attempt(async () => samplingDistribution(prompt() as never));
      await attempt(async () => samplingDistribution([1, 2, 3, 4], {}, prompt() as never));
      await attempt(() => measureFloors(floors() as never));
      await attempt(async () => tokenizer.applyChatTemplate(messages, prompt() as never));
      await attempt(async () => tokenizer.applyChatTemplate([prompt()] as never));
      await attempt(() => engine.generate(prompt() as never, { maxTokens: 1 }));
      await attempt(() => engine.score([{ tokens: [1] }, prompt()] as never));
    });
    await fc.assert(property, { numRuns: 1_000, seed: 20 });
  });

  it("leave engine and prototypes as they were", async () => {
    console.log(
      `R13: ${counts.typed} typed errors, ${counts.worked} calls that worked, ${counts.ended} that ended early`,
    );
    expect(counts.typed + counts.worked + counts.ended).toBeGreaterThan(10_000);
    expect(counts.typed).toBeGreaterThan(5_000);
    expect(counts.worked).toBeGreaterThan(500);
    expect(whatCounts((await engine.generate({ tokens: [1, 2, 3] }, probe)) as Generation)).toEqual(before);
    expect(engine.stats()).toMatchObject({ running: 0, queue: 0, blocks: { owned: 0 } });
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});

it("caps are in the error's numbers", async () => {
  const model = writeTinyModel();
  const engine = await Engine.load(model, { threads: 1, kvCacheTokens: 128, maxQueue: 2 });
  const refusals: [() => Promise<unknown>, string, RegExp][] = [
    [
      () => engine.generate({ tokens: Array(128).fill(1) }),
      "PROMPT_TOO_LONG",
      /at most 127 tokens but received 128/,
    ],
    [
      () => engine.generate({ tokens: [64] }),
      "INVALID_ARGUMENT",
      /\[0, 64\) for tokens\[0\] but received 64/,
    ],
    [() => engine.generate({ tokens: [] }), "INVALID_ARGUMENT", /at least one token/],
    [
      () => engine.generate({ tokens: [1] }, { n: 65_537 }),
      "INVALID_ARGUMENT",
      /\[1, 65536\] for n but received 65537/,
    ],
    [
      () => engine.generate({ tokens: [1] }, { maxTokens: 0 }),
      "INVALID_ARGUMENT",
      /\[1, 2147483647\] for maxTokens but received 0/,
    ],
    [
      () => engine.generate({ tokens: [1] }, { topLogprobs: 1025 }),
      "INVALID_ARGUMENT",
      /\[0, 1024\] for topLogprobs/,
    ],
    [
      () => engine.score({ tokens: [1, 2] }, { from: 3 }),
      "INVALID_ARGUMENT",
      /length of 2 tokens for from but received 3/,
    ],
    [
      () => Engine.load(model, { maxContext: 513 }),
      "INVALID_ARGUMENT",
      /context of 512 tokens for maxContext but received 513/,
    ],
    [
      () => Engine.load(model, { maxBatchTokens: 65_537 }),
      "INVALID_ARGUMENT",
      /\[1, 65536\] for maxBatchTokens but received 65537/,
    ],
    [
      () => Engine.load(model, { tensorParallel: 3 }),
      "INVALID_ARGUMENT",
      /R_max = 2 .*tensorParallel but received 3/,
    ],
  ];
  for (const [call, code, message] of refusals)
    await expect(call()).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  const options = { temperature: 0, maxTokens: 30 };
  const three = await engine.generate(
    [1, 2, 3].map((id) => ({ tokens: [id] })),
    options,
  );
  expect(three[2]).toMatchObject({
    error: { code: "QUEUE_FULL", message: expect.stringMatching(/at most 2 .*maxQueue/) },
  });
  await engine.close();
  rmSync(model, { recursive: true });
});

it.skipIf(process.platform !== "linux")(
  "a KV cache of 2^31 tokens is refused, or reserved without being touched",
  async () => {
    const model = writeTinyModel();
    const { code, stdout } = await runChild("huge-cache", { args: [model], timeoutMs: 20_000 });
    rmSync(model, { recursive: true });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "fine\n" });
  },
);

/** Each was a TypeError without a code once, or taken for token 0. */
describe("refused by name", () => {
  it("a stop list with a hole in it", () => {
    expect(() => samplingDistribution([1, 2], { stop: Array(2) })).toThrow(LockstepError);
  });
  it("a list of devices with a bigint in it", () => {
    expect(() => checkLoadOptions({ device: [1n] })).toThrow(
      expect.objectContaining({ name: "LockstepError" }),
    );
  });
  it("logits that hold a bigint", () => {
    expect(() => samplingDistribution([1n] as never)).toThrow(LockstepError);
  });
  it("a token id in logitBias that is no number", () => {
    expect(() => samplingDistribution([1, 2], { logitBias: { "": 1 } })).toThrow(LockstepError);
  });
});
