/**
 * What stops a load, and what native refuses to load or to run though TypeScript would have to let it through first.
 */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { ropeFrequencies } from "../../src/checkpoint/rope.js";
import { type NativeEngineSpec, type NativeEvent, type NativeRequest, native } from "../../src/native.js";
import { configOf } from "../model/random-checkpoint.js";
import { kTinyVocab, runChild, until, writeTinyModel } from "./support.js";

describe("a load that takes a while", { timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-loading-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  // Not the warning that these weights are converted.
  const load = (way: string) =>
    runChild("loading", { args: [directory, way], env: { NODE_NO_WARNINGS: "1" } });
  let wholeMs = 0;
  beforeAll(async () => {
    writeLargeModel(directory);
    const { stdout, stderr } = await load("wait");
    expect(stdout, stderr).toContain("loaded");
    wholeMs = JSON.parse(stdout).ms;
  }, 120_000);

  it("takes long enough for the tests below to mean something", () => expect(wholeMs).toBeGreaterThan(600));

  it("stops when it is aborted", async () => {
    const { code, stdout, stderr } = await load("abort");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { end, ms } = JSON.parse(stdout.split("\n")[1]!);
    expect(end).toBe("AbortError");
    expect(ms).toBeLessThan(wholeMs - 200);
  });

  it("stops when the tokenizer, read meanwhile, is malformed", async () => {
    const tokenizer = join(directory, "tokenizer.json");
    writeFileSync(tokenizer, "{}");
    const { code, stdout, stderr } = await load("wait");
    rmSync(tokenizer);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { end, ms } = JSON.parse(stdout);
    expect(end).toBe("LockstepError");
    expect(ms).toBeLessThan(wholeMs - 200);
  });

  it("stops when the process exits", async () => {
    const { code, stderr, msAfterGo } = await load("exit");
    expect({ code, stderr }).toEqual({ code: 7, stderr: "" });
    expect(msAfterGo).toBeLessThan(wholeMs - 300);
  });
});

/** 1 GiB of F32 zeros that take no place on the disk: nearly all of it the embedding. */
function writeLargeModel(directory: string): void {
  const shape = { layers: 1, hidden: 4096, heads: 2, kvHeads: 2, headDim: 8, mlp: 2, vocab: 65_536 };
  writeFileSync(
    join(directory, "config.json"),
    JSON.stringify(configOf({ ...shape, context: 16, tied: true })),
  );
  const { hidden: D, mlp: F, vocab: V } = shape;
  const layer = "model.layers.0";
  const shapes: [string, number[]][] = [
    ["model.embed_tokens", [V, D]],
    [`${layer}.input_layernorm`, [D]],
    [`${layer}.self_attn.q_proj`, [16, D]],
    [`${layer}.self_attn.k_proj`, [16, D]],
    [`${layer}.self_attn.v_proj`, [16, D]],
    [`${layer}.self_attn.q_norm`, [8]],
    [`${layer}.self_attn.k_norm`, [8]],
    [`${layer}.self_attn.o_proj`, [D, 16]],
    [`${layer}.post_attention_layernorm`, [D]],
    [`${layer}.mlp.gate_proj`, [F, D]],
    [`${layer}.mlp.up_proj`, [F, D]],
    [`${layer}.mlp.down_proj`, [D, F]],
    ["model.norm", [D]],
  ];
  let at = 0;
  const entries = shapes.map(([name, dims]) => {
    const begin = at;
    at += 4 * dims.reduce((a, b) => a * b);
    return [`${name}.weight`, { dtype: "F32", shape: dims, data_offsets: [begin, at] }];
  });
  const text = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(join(directory, "model.safetensors"), "w");
  writeSync(file, Buffer.concat([size, header]));
  ftruncateSync(file, 8 + header.length + at);
  closeSync(file);
}

describe("what the native side refuses by itself", () => {
  const directory = writeTinyModel();
  afterAll(() => rmSync(directory, { recursive: true }));

  async function specOf(): Promise<NativeEngineSpec> {
    const { config, files, tensors } = await openCheckpoint(directory);
    return {
      config: {
        ...config,
        tiedHead: config.tieWordEmbeddings,
        ropeInvFreq: ropeFrequencies(config),
        ropeScale: config.rope.attentionFactor,
      },
      files,
      tensors,
      copyWeights: false,
      profile: false,
      debug: false,
      ranks: 1,
      prefixCache: true,
      computePath: "",
      devices: new Int32Array(0),
      memoryFraction: 0.7,
      threads: 1,
      numBlocks: 4,
      maxContext: 64,
      maxBatchTokens: 16,
      maxSequences: 2,
    };
  }

  /** The engine and the events it has published so far. */
  function open(spec: NativeEngineSpec) {
    const events: NativeEvent[] = [];
    const engine = new (native().NativeEngine)(spec, (event) => events.push(event));
    engine.ref();
    const close = async () => {
      engine.close();
      await until(() => events.at(-1)?.kind === "closed", "the engine is closed");
    };
    return { engine, events, close };
  }

  it.each([
    ["layers", { numLayers: 0 }],
    ["heads", { numHeads: -4 }],
    ["groups", { numKvHeads: 3 }],
    ["rope", { ropeInvFreq: new Float32Array(3) }],
    ["eps", { rmsNormEps: Number.NaN }],
  ])("a model's %s", async (_, change) => {
    const spec = await specOf();
    const { events, close } = open({ ...spec, config: { ...spec.config, ...change } });
    await until(() => events.length > 0, "the load has failed");
    expect(events[0]).toMatchObject({ kind: "failed", code: "INVALID_ARGUMENT" });
    await close();
  });

  it.each(["threads", "numBlocks", "maxBatchTokens", "maxSequences", "ranks"])("%s of none", async (key) => {
    const { events, close } = open({ ...(await specOf()), [key]: 0 });
    await until(() => events.length > 0, "the load has failed");
    expect(events[0]).toMatchObject({ kind: "failed", code: "INVALID_ARGUMENT" });
    await close();
  });

  it("requests that could never run, and keeps running the others", async () => {
    const { engine, events, close } = open(await specOf());
    const good = request({ id: 5 });
    const refused: Partial<NativeRequest>[] = [
      { tokens: new Int32Array(0) },
      { tokens: new Int32Array(60), maxTokens: 5 }, // the pool holds 64
      { maxTokens: -1 },
      { tokens: Int32Array.of(kTinyVocab) },
      { outputTokens: Int32Array.of(kTinyVocab) },
      { outputTokens: Int32Array.of(1, 2, 3, 4), maxTokens: 4 }, // nothing is left to sample
      { outputTokens: Int32Array.of(1), maxTokens: 0 },
      { prefixRoot: new BigUint64Array(1) },
      { biasTokens: Int32Array.of(1, 2), biasValues: Float32Array.of(1) },
    ];
    for (const change of refused)
      expect(() => engine.submit({ ...good, ...change })).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    engine.submit(good);
    expect(() => engine.submit(good)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    await until(() => events.some(({ rows }) => rows[0] === 5 && rows[2] === 2), "the good one has ended");
    await close();
  });

  it("requests after close(), and ends those before it with one event each", async () => {
    const { engine, events, close } = open(await specOf());
    for (let id = 1; id <= 20; ++id) engine.submit(request({ id, maxTokens: 50 }));
    engine.close();
    expect(() => engine.submit(request({ id: 21 }))).toThrow(
      expect.objectContaining({ code: "ENGINE_CLOSED" }),
    );
    await close();
    const ended = events.flatMap(({ rows }) =>
      Array.from({ length: rows.length / 7 }, (_, i) => rows.subarray(7 * i, 7 * i + 7))
        .filter((row) => row[2] !== 0)
        .map((row) => row[0]),
    );
    expect(ended.sort((a, b) => a! - b!)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  const request = (change: Partial<NativeRequest>): NativeRequest => ({
    id: 1,
    tokens: Int32Array.of(1, 2, 3),
    prefixRoot: new BigUint64Array(2),
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    biasTokens: new Int32Array(0),
    biasValues: new Float32Array(0),
    seed: 1,
    sampleIndex: 0,
    maxTokens: 4,
    minTokens: 0,
    forcedTokens: new Int32Array(0),
    stopTokenIds: new Int32Array(0),
    logprobs: false,
    topLogprobs: 0,
    keptTokenIds: false,
    ...change,
  });
});
