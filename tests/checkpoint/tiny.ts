/**
 * A tiny valid Qwen3 checkpoint in memory, and the pieces to break one: raw safetensors bytes from any header text.
 * Test support; writes only where it is told to.
 */
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** What lies under one name of a checkpoint directory. */
export type Entry =
  | Buffer
  | string
  | { link: string }
  | { directory: true }
  | { sparse: Buffer; sizeBytes: number };
export type Files = Record<string, Entry>;

export const kWeights = "model.safetensors";
export const kIndex = "model.safetensors.index.json";

export interface Spec {
  name: string;
  dtype: string;
  shape: number[];
}

/** config.json in the current layout; tied, 2 layers, 2 heads on 1, every width different. */
export function tinyConfig(overrides: Record<string, unknown> = {}): Record<string, unknown> {
  const config: Record<string, unknown> = {
    architectures: ["Qwen3ForCausalLM"],
    attention_bias: false,
    bos_token_id: 1,
    dtype: "bfloat16",
    eos_token_id: 2,
    head_dim: 4,
    hidden_act: "silu",
    hidden_size: 6,
    intermediate_size: 10,
    layer_types: ["full_attention", "full_attention"],
    max_position_embeddings: 64,
    model_type: "qwen3",
    num_attention_heads: 2,
    num_hidden_layers: 2,
    num_key_value_heads: 1,
    rms_norm_eps: 1e-6,
    rope_parameters: { rope_theta: 10000.0, rope_type: "default" },
    tie_word_embeddings: true,
    use_sliding_window: false,
    vocab_size: 11,
    ...overrides,
  };
  for (const key of Object.keys(config)) if (config[key] === undefined) delete config[key];
  return config;
}

/** The tensors of tinyConfig(), written out by hand so that they do not share code with the reader. */
export function tinySpecs(prefix = "model."): Spec[] {
  const specs: Spec[] = [{ name: `${prefix}embed_tokens.weight`, dtype: "BF16", shape: [11, 6] }];
  const add = (name: string, ...shape: number[]) => specs.push({ name: prefix + name, dtype: "BF16", shape });
  for (const layer of [0, 1]) {
    add(`layers.${layer}.input_layernorm.weight`, 6);
    add(`layers.${layer}.mlp.down_proj.weight`, 6, 10);
    add(`layers.${layer}.mlp.gate_proj.weight`, 10, 6);
    add(`layers.${layer}.mlp.up_proj.weight`, 10, 6);
    add(`layers.${layer}.post_attention_layernorm.weight`, 6);
    add(`layers.${layer}.self_attn.k_norm.weight`, 4);
    add(`layers.${layer}.self_attn.k_proj.weight`, 4, 6);
    add(`layers.${layer}.self_attn.o_proj.weight`, 6, 8);
    add(`layers.${layer}.self_attn.q_norm.weight`, 4);
    add(`layers.${layer}.self_attn.q_proj.weight`, 8, 6);
    add(`layers.${layer}.self_attn.v_proj.weight`, 4, 6);
  }
  add("norm.weight", 6);
  return specs;
}

export const kLmHead: Spec = { name: "lm_head.weight", dtype: "BF16", shape: [11, 6] };

export interface HeaderEntry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
  [extra: string]: unknown;
}
export type Header = Record<string, HeaderEntry | unknown>;

const kBytes: Record<string, number> = {
  I16: 2,
  BF16: 2,
  F16: 2,
  F32: 4,
  F64: 8,
  I8: 1,
  U8: 1,
  BOOL: 1,
  I64: 8,
  F8_E4M3: 1,
};

/** Consecutive offsets for `specs`; `metadata` first, as Hugging Face writes it. */
export function layOut(
  specs: Spec[],
  metadata: unknown = { format: "pt" },
): { header: Header; dataBytes: number } {
  const header: Header = metadata === undefined ? {} : { __metadata__: metadata };
  let at = 0;
  for (const { name, dtype, shape } of specs) {
    const end = at + shape.reduce((product, size) => product * size, 1) * kBytes[dtype]!;
    header[name] = { dtype, shape, data_offsets: [at, end] };
    at = end;
  }
  return { header, dataBytes: at };
}

/** Length, header text as it is, zeros. `length` lies about the header where it is given. */
export function rawSafetensors(header: string | Buffer, dataBytes: number, length?: bigint): Buffer {
  const text = Buffer.from(header as string);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
}

/** Padded to 8 bytes as the Rust writer does, unless `padding` says how many spaces. */
export function safetensors(specs: Spec[], metadata?: unknown, padding?: number): Buffer {
  const { header, dataBytes } = layOut(specs, metadata);
  const text = JSON.stringify(header);
  return rawSafetensors(text + " ".repeat(padding ?? (8 - (text.length % 8)) % 8), dataBytes);
}

/** The valid checkpoint; `files` replaces or adds, undefined removes. */
export function tinyFiles(files: Record<string, Entry | undefined> = {}): Files {
  const all: Record<string, Entry | undefined> = {
    "config.json": JSON.stringify(tinyConfig(), null, 2),
    "generation_config.json": JSON.stringify({
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      eos_token_id: [2, 3],
    }),
    [kWeights]: safetensors(tinySpecs()),
    ...files,
  };
  return Object.fromEntries(Object.entries(all).filter(([, entry]) => entry !== undefined)) as Files;
}

/** The same in two shards and an index; the embedding and layer 0 in the first. */
export function shardedFiles(files: Record<string, Entry | undefined> = {}): Files {
  const specs = tinySpecs();
  const [a, b] = [specs.slice(0, 12), specs.slice(12)];
  return tinyFiles({
    [kWeights]: undefined,
    "model-00001-of-00002.safetensors": safetensors(a),
    "model-00002-of-00002.safetensors": safetensors(b),
    [kIndex]: JSON.stringify({ metadata: { total_size: 1 }, weight_map: tinyWeightMap() }),
    ...files,
  });
}

export function tinyWeightMap(): Record<string, string> {
  return Object.fromEntries(
    tinySpecs().map(({ name }, i) => [name, `model-0000${i < 12 ? 1 : 2}-of-00002.safetensors`]),
  );
}

/** Writes `files` into the new directory `directory`. */
export function writeFiles(directory: string, files: Files): void {
  mkdirSync(directory, { recursive: true });
  for (const [name, entry] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    if (typeof entry === "string" || Buffer.isBuffer(entry)) writeFileSync(path, entry);
    else if ("link" in entry) symlinkSync(entry.link, path);
    else if ("directory" in entry) mkdirSync(path);
    else {
      writeFileSync(path, entry.sparse);
      truncateSync(path, entry.sizeBytes);
    }
  }
}

/** What a tensor of the table takes in its file. */
export function bytesOf({ dtype, shape }: { dtype: string; shape: readonly number[] }): number {
  return shape.reduce((product, size) => product * size, dtype === "F32" ? 4 : 2);
}
