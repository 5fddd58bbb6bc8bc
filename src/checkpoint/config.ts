/**
 * config.json → ModelConfig: the dimensions of a Qwen3 dense model, or a refusal that names the key.
 * Main thread; pure. Must not fill in a number that changes results, but for head_dim, whose default Qwen3Config has
 * had in every release of transformers (128), and must not run or look for code that a checkpoint names (`auto_map`).
 */
import { Fields } from "./fields.js";
import { quote, refuse } from "./refuse.js";
import type { RopeConfig } from "./rope.js";
import { agreed, parseRope } from "./rope-config.js";
import type { JsonObject } from "./strict-json.js";

export type { RopeConfig, YarnConfig } from "./rope.js";

export type Architecture = "Qwen3ForCausalLM" | "Qwen3Model";

export interface ModelConfig {
  architecture: Architecture;
  hiddenSize: number; // D
  intermediateSize: number; // F
  numLayers: number;
  numHeads: number; // Hq
  numKvHeads: number; // Hkv
  headDim: number; // d; never D / Hq
  vocabSize: number; // V
  rmsNormEps: number;
  tieWordEmbeddings: boolean;
  maxPositionEmbeddings: number;
  /** The longest sequence the checkpoint is meant for: with YaRN, original × factor if that is larger. */
  maxContext: number;
  rope: RopeConfig;
  eosTokenIds: number[];
}

// Far above Qwen3-32B (5,120 · 25,600 · 64 layers · 64 heads), far below where a product leaves 2^53.
const kMaxWidth = 2 ** 18;
const kMaxLayers = 1024;
const kMaxHeads = 1024;
const kMaxHeadDim = 512;
const kMaxVocab = 2 ** 24;
const kMaxPositions = 2 ** 24;

export function parseModelConfig(json: JsonObject, file: string): ModelConfig {
  const config = new Fields(json, file);
  const architecture = checkFamily(config);
  const size = (key: string, max: number) => config.required(key, config.integer(key, 1, max));
  const numLayers = size("num_hidden_layers", kMaxLayers);
  checkFeatures(config, numLayers);
  const maxPositionEmbeddings = size("max_position_embeddings", kMaxPositions);
  const rope = parseRope(config, maxPositionEmbeddings);
  return {
    architecture,
    hiddenSize: size("hidden_size", kMaxWidth),
    intermediateSize: size("intermediate_size", kMaxWidth),
    numLayers,
    ...heads(config, size("num_attention_heads", kMaxHeads), size("num_key_value_heads", kMaxHeads)),
    vocabSize: size("vocab_size", kMaxVocab),
    rmsNormEps: config.required("rms_norm_eps", config.number("rms_norm_eps", 1e-12, 0.1)),
    tieWordEmbeddings: config.boolean("tie_word_embeddings") ?? false,
    maxPositionEmbeddings,
    maxContext: maxContext(config, maxPositionEmbeddings, rope),
    rope,
    eosTokenIds: config.tokenIds("eos_token_id"),
  };
}

/** model_type and architectures: Qwen3 dense, with or without a head. */
function checkFamily(config: Fields): Architecture {
  const modelType = config.required("model_type", config.string("model_type"));
  if (modelType !== "qwen3") throw config.bad("model_type", "'qwen3' (dense), the only family supported,");
  const [architecture = "Qwen3ForCausalLM", ...others] = config.strings("architectures") ?? [];
  if (others.length > 0 || (architecture !== "Qwen3ForCausalLM" && architecture !== "Qwen3Model"))
    throw config.bad("architectures", "['Qwen3ForCausalLM'] or ['Qwen3Model']");
  return architecture;
}

/** Refuses, by name, what would change the numbers and is not implemented. */
function checkFeatures(config: Fields, numLayers: number): void {
  config.onlyIf("attention_bias", false);
  config.onlyIf("hidden_act", "silu");
  config.onlyIf("use_sliding_window", false);
  const dtype = agreed(
    [
      [config, "dtype"],
      [config, "torch_dtype"],
    ],
    (fields, key) => fields.string(key),
  );
  if (dtype !== undefined && !["bfloat16", "float16", "float32"].includes(dtype))
    throw refuse(
      config.file,
      `Expected dtype 'bfloat16', 'float16' or 'float32' but received ${quote(dtype)}`,
    );
  for (const key of ["quantization_config", "quantization"])
    if (config.get(key) !== undefined) throw config.bad(key, "no quantization");
  const layerTypes = config.strings("layer_types");
  if (layerTypes === undefined) return;
  const other = layerTypes.find((type) => type !== "full_attention");
  if (other !== undefined)
    throw refuse(config.file, `Expected 'full_attention' in layer_types but received ${quote(other)}`);
  if (layerTypes.length !== numLayers)
    throw config.bad("layer_types", `an array of num_hidden_layers (${numLayers})`);
}

function heads(config: Fields, numHeads: number, numKvHeads: number) {
  if (numHeads % numKvHeads !== 0)
    throw config.bad("num_key_value_heads", `a divisor of num_attention_heads (${numHeads})`);
  const headDim = config.integer("head_dim", 2, kMaxHeadDim) ?? 128;
  if (headDim % 2 !== 0) throw config.bad("head_dim", "an even integer (RoPE turns pairs)");
  return { numHeads, numKvHeads, headDim };
}

function maxContext(config: Fields, maxPositionEmbeddings: number, { yarn }: RopeConfig): number {
  const scaled = yarn === undefined ? 0 : Math.floor(yarn.originalMaxPositionEmbeddings * yarn.factor);
  const context = Math.max(maxPositionEmbeddings, scaled);
  if (context > kMaxPositions)
    throw refuse(
      config.file,
      `Expected a context of at most ${kMaxPositions} positions but YaRN's original × factor is ${scaled}`,
    );
  return context;
}
