/** config.json and generation_config.json: what is read, in both layouts. The refusals are the corpus's. */
import { describe, expect, it } from "vitest";
import { type ModelConfig, parseModelConfig } from "../../src/checkpoint/config.js";
import { expectedTensors } from "../../src/checkpoint/expected-tensors.js";
import { kNoGenerationConfig, parseGenerationConfig } from "../../src/checkpoint/generation-config.js";
import { parseStrictJsonObject } from "../../src/checkpoint/strict-json.js";
import { tinyConfig, tinySpecs } from "./tiny.js";

const json = (value: unknown) => parseStrictJsonObject(Buffer.from(JSON.stringify(value)), "x.json");
const parse = (overrides: Record<string, unknown> = {}): ModelConfig =>
  parseModelConfig(json(tinyConfig(overrides)), "config.json");
const older = (rope_scaling: unknown) =>
  parse({
    rope_parameters: undefined,
    dtype: undefined,
    torch_dtype: "bfloat16",
    rope_theta: 10000,
    rope_scaling,
  });

describe("config.json", () => {
  it("reads the current layout", () => {
    expect(parse()).toEqual({
      architecture: "Qwen3ForCausalLM",
      hiddenSize: 6,
      intermediateSize: 10,
      numLayers: 2,
      numHeads: 2,
      numKvHeads: 1,
      headDim: 4,
      vocabSize: 11,
      rmsNormEps: 1e-6,
      tieWordEmbeddings: true,
      maxPositionEmbeddings: 64,
      maxContext: 64,
      rope: { theta: 10000, attentionFactor: 1 },
      eosTokenIds: [2],
    });
  });

  it("reads the older layout the same", () => {
    for (const scaling of [null, undefined, {}, { type: "default" }, { rope_type: "default" }])
      expect(older(scaling)).toEqual(parse());
  });

  it("takes transformers' defaults for what may be absent", () => {
    const absent = parse({
      head_dim: undefined,
      tie_word_embeddings: undefined,
      bos_token_id: null,
      eos_token_id: null,
      layer_types: undefined,
      hidden_act: undefined,
      attention_bias: undefined,
      use_sliding_window: undefined,
      dtype: undefined,
      architectures: undefined,
    });
    expect(absent).toMatchObject({
      headDim: 128,
      tieWordEmbeddings: false,
      eosTokenIds: [],
      architecture: "Qwen3ForCausalLM",
    });
  });

  it("ignores what does not change the numbers", () => {
    const noise = {
      sliding_window: 4096,
      max_window_layers: 28,
      auto_map: { AutoModel: "evil.py" },
      attention_dropout: 0.5,
      use_cache: false,
      pad_token_id: 0,
      transformers_version: "9",
    };
    expect(parse(noise)).toEqual(parse());
  });

  it("reads ids alone, in lists, and once each", () => {
    expect(parse({ eos_token_id: [5, 2, 5] }).eosTokenIds).toEqual([5, 2]);
    expect(parse({ eos_token_id: [] }).eosTokenIds).toEqual([]);
  });
});

describe("YaRN", () => {
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 };
  it.each([
    ["older", () => older(yarn)],
    ["older, with type", () => older({ ...yarn, rope_type: undefined, type: "yarn" })],
    ["current", () => parse({ rope_parameters: { ...yarn, rope_theta: 10000 } })],
    [
      "both, saying the same",
      () => parse({ rope_parameters: { ...yarn, rope_theta: 10000 }, rope_scaling: yarn }),
    ],
    [
      "nulls",
      () => older({ ...yarn, beta_fast: null, beta_slow: null, attention_factor: null, mscale: null }),
    ],
    [
      "zeros that mean default",
      () => older({ ...yarn, beta_fast: 0, beta_slow: 0, mscale: 0, mscale_all_dim: 1 }),
    ],
  ])("%s", (_, read) => {
    expect(read().rope).toEqual({
      theta: 10000,
      attentionFactor: Math.fround(1.138629436111989),
      yarn: { factor: 4, originalMaxPositionEmbeddings: 16, betaFast: 32, betaSlow: 1, truncate: true },
    });
  });

  it("lengthens the context to original × factor, and never shortens it", () => {
    expect(older(yarn).maxContext).toBe(64);
    expect(older({ ...yarn, factor: 8 }).maxContext).toBe(128);
    expect(older({ ...yarn, factor: 2 }).maxContext).toBe(64);
    // Without an original length, transformers takes max_position_embeddings.
    expect(older({ type: "yarn", factor: 2 })).toMatchObject({
      maxContext: 128,
      rope: { yarn: { originalMaxPositionEmbeddings: 64 } },
    });
  });

  it("derives what is left out, as transformers does", () => {
    expect(older({ ...yarn, factor: null }).rope.yarn?.factor).toBe(4);
    expect(older({ ...yarn, attention_factor: 0.5 }).rope.attentionFactor).toBe(0.5);
    const both = older({ ...yarn, mscale: 0.5, mscale_all_dim: 1 }).rope.attentionFactor;
    expect(both).toBe(Math.fround((0.05 * Math.log(4) + 1) / (0.1 * Math.log(4) + 1)));
    expect(older({ ...yarn, beta_fast: 16, beta_slow: 2, truncate: false }).rope.yarn).toMatchObject({
      betaFast: 16,
      betaSlow: 2,
      truncate: false,
    });
  });
});

describe("generation_config.json", () => {
  const read = (value: unknown) => parseGenerationConfig(json(value), "generation_config.json");
  it("reads Qwen3's", () => {
    const qwen = {
      bos_token_id: 151643,
      do_sample: true,
      eos_token_id: [151645, 151643],
      pad_token_id: 151643,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      transformers_version: "4.51.0",
    };
    expect(read(qwen)).toEqual({ temperature: 0.6, topK: 20, topP: 0.95, eosTokenIds: [151645, 151643] });
  });
  it("takes do_sample: false for temperature 0, and only that", () => {
    expect(read({ do_sample: false, temperature: 0.7 })).toEqual({ temperature: 0, eosTokenIds: [] });
    expect(read({ temperature: 0.7 }).temperature).toBe(0.7);
    expect(read({ do_sample: true })).not.toHaveProperty("temperature");
  });
  it("takes null and unknown keys for nothing", () => {
    expect(
      read({ temperature: null, top_k: null, do_sample: null, eos_token_id: null, num_beams: "x" }),
    ).toEqual(kNoGenerationConfig);
    expect(read({ min_p: 0.1, repetition_penalty: 1.05, eos_token_id: 7 })).toEqual({
      minP: 0.1,
      repetitionPenalty: 1.05,
      eosTokenIds: [7],
    });
  });
});

describe("expectedTensors", () => {
  const sorted = (list: { name: string; shape: number[] }[]) =>
    list.map(({ name, shape }) => `${name} ${shape}`).sort();
  it("is what Hugging Face writes", () => {
    expect(sorted(expectedTensors(parse()))).toEqual(sorted(tinySpecs()));
  });
  it("adds the head where it is not tied", () => {
    expect(expectedTensors(parse({ tie_word_embeddings: false })).at(-1)).toEqual({
      name: "lm_head.weight",
      shape: [11, 6],
    });
  });
});
