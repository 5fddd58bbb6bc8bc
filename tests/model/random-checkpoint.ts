/** Small checkpoints of any shape with random weights, written to a directory: for the tests that need their own. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Tensor, writeSafetensors } from "./safetensors.js";

export interface Shape {
  layers: number;
  hidden: number; // D
  heads: number; // Hq
  kvHeads: number; // Hkv
  headDim: number; // d
  mlp: number; // F
  vocab: number; // V
  context: number;
  tied: boolean;
  yarnFactor?: number;
  /** Weights' standard deviation relative to 1 / sqrt(fan in). */
  scale?: number;
}

/** A small deterministic generator of numbers in [0, 1): mulberry32. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomTokens(random: () => number, length: number, vocab: number): number[] {
  return Array.from({ length }, () => Math.floor(random() * vocab));
}

export interface WriteOptions {
  seed?: number;
  /** Spaces at the end of the header: 1 makes odd addresses. */
  padding?: number;
  /** Changes the weights before they are written. */
  edit?: (tensors: Map<string, Tensor>) => void;
}

/** Writes config.json and model.safetensors; no tokenizer, no generation_config.json. */
export function writeRandomCheckpoint(directory: string, shape: Shape, options: WriteOptions = {}): void {
  const { seed = 1, padding = 0, edit } = options;
  const tensors = randomWeights(shape, seed);
  edit?.(tensors);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "config.json"), JSON.stringify(configOf(shape), null, 2));
  writeSafetensors(join(directory, "model.safetensors"), tensors, padding);
}

export function configOf(shape: Shape): object {
  return {
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    dtype: "bfloat16",
    hidden_act: "silu",
    attention_bias: false,
    hidden_size: shape.hidden,
    intermediate_size: shape.mlp,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    vocab_size: shape.vocab,
    max_position_embeddings: shape.context,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: shape.tied,
    rope_parameters:
      shape.yarnFactor === undefined
        ? { rope_theta: 10000, rope_type: "default" }
        : {
            rope_theta: 10000,
            rope_type: "yarn",
            factor: shape.yarnFactor,
            original_max_position_embeddings: Math.floor(shape.context / shape.yarnFactor),
          },
  };
}

function randomWeights(shape: Shape, seed: number): Map<string, Tensor> {
  const random = randomSource(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const tensors = new Map<string, Tensor>();
  const add = (name: string, dims: number[], value: () => number) => {
    const values = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, value);
    tensors.set(`${name}.weight`, { shape: dims, values });
  };
  const projection = (name: string, rows: number, cols: number) =>
    add(name, [rows, cols], () => ((shape.scale ?? 1) * normal()) / Math.sqrt(cols));
  const norm = (name: string, length: number) => add(name, [length], () => 1 + 0.2 * normal());
  const { hidden: D, mlp: F, headDim: d, vocab: V } = shape;
  add("model.embed_tokens", [V, D], normal);
  for (let i = 0; i < shape.layers; ++i) {
    const layer = `model.layers.${i}`;
    norm(`${layer}.input_layernorm`, D);
    projection(`${layer}.self_attn.q_proj`, shape.heads * d, D);
    projection(`${layer}.self_attn.k_proj`, shape.kvHeads * d, D);
    projection(`${layer}.self_attn.v_proj`, shape.kvHeads * d, D);
    norm(`${layer}.self_attn.q_norm`, d);
    norm(`${layer}.self_attn.k_norm`, d);
    projection(`${layer}.self_attn.o_proj`, D, shape.heads * d);
    norm(`${layer}.post_attention_layernorm`, D);
    projection(`${layer}.mlp.gate_proj`, F, D);
    projection(`${layer}.mlp.up_proj`, F, D);
    projection(`${layer}.mlp.down_proj`, D, F);
  }
  norm("model.norm", D);
  if (!shape.tied) projection("lm_head", V, D);
  return tensors;
}
