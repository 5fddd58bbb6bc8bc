/**
 * Writes a GGUF file that holds the same BF16 weights as a checkpoint of one safetensors file, for peers that read GGUF:
 *
 *   node bench/make-gguf.mjs DIRECTORY [FILE]
 *
 * FILE (default model.gguf in the directory) is printed; one that is complete is left as it is. Its vocabulary means nothing, as the
 * weights: prompts are token ids. Format: version 3 of ggml's docs/gguf.md; norms are stored as F32, which llama.cpp asks for.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";

const [directory, target = directory && join(directory, "model.gguf")] = process.argv.slice(2);
if (!directory) {
  console.error("usage: node bench/make-gguf.mjs DIRECTORY [FILE]");
  process.exit(2);
}
const UINT32 = 4;
const FLOAT32 = 6;
const STRING = 8;
const STRINGS = 9; // an array of them
const TYPES = { F32: 0, BF16: 30 };
const ALIGNMENT = 32;

const kNames = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

const WRITERS = {
  [UINT32]: u32,
  [FLOAT32]: f32,
  [STRING]: string,
  [STRINGS]: (texts) => Buffer.concat([u32(STRING), u64(texts.length), ...texts.map(string)]),
};

if (!existsSync(target)) {
  write(`${target}.part`);
  renameSync(`${target}.part`, target); // only what is complete has the name
}
console.log(target);

function write(path) {
  const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  const source = openSync(join(directory, "model.safetensors"), "r");
  const { tensors, dataStart } = headerOf(source);
  const file = openSync(path, "w");
  let offset = 0;
  const infos = tensors.map(({ name, shape, bytes }) => {
    const isNorm = shape.length === 1;
    const size = isNorm ? bytes * 2 : bytes;
    const info = { name: ggufName(name), shape, type: isNorm ? "F32" : "BF16", offset };
    offset += Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    return info;
  });
  const head = header(metadata(config), infos);
  const dataAt = Math.ceil(head.length / ALIGNMENT) * ALIGNMENT;
  writeSync(file, head);
  for (const [i, { start, bytes }] of tensors.entries()) {
    const data = Buffer.alloc(bytes);
    readSync(source, data, 0, bytes, dataStart + start);
    const { type, offset: at } = infos[i];
    writeSync(file, type === "F32" ? widened(data) : data, 0, undefined, dataAt + at);
  }
  for (const open of [source, file]) closeSync(open);
}

/** Tensors in the order of the file. */
function headerOf(source) {
  const length = Buffer.alloc(8);
  readSync(source, length, 0, 8, 0);
  const size = Number(length.readBigUInt64LE());
  const text = Buffer.alloc(size);
  readSync(source, text, 0, size, 8);
  const entries = Object.entries(JSON.parse(text.toString())).filter(([name]) => name !== "__metadata__");
  const tensors = entries.map(
    ([
      name,
      {
        shape,
        data_offsets: [start, end],
      },
    ]) => ({ name, shape, start, bytes: end - start }),
  );
  return { tensors: tensors.sort((a, b) => a.start - b.start), dataStart: 8 + size };
}

function ggufName(name) {
  const layer = /^model\.layers\.(\d+)\.(.*)\.weight$/.exec(name);
  const stem = kNames[layer ? layer[2] : name.replace(/\.weight$/, "")];
  if (!stem) throw new Error(`${name}: no tensor of a Qwen3`);
  return layer ? `blk.${layer[1]}.${stem}.weight` : `${stem}.weight`;
}

function metadata(config) {
  const counts = {
    block_count: config.num_hidden_layers,
    context_length: config.max_position_embeddings,
    embedding_length: config.hidden_size,
    feed_forward_length: config.intermediate_size,
    "attention.head_count": config.num_attention_heads,
    "attention.head_count_kv": config.num_key_value_heads,
    "attention.key_length": config.head_dim,
    "attention.value_length": config.head_dim,
    vocab_size: config.vocab_size,
  };
  const floats = {
    "rope.freq_base": config.rope_theta,
    "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
  };
  return [
    ["general.architecture", STRING, "qwen3"],
    ["general.alignment", UINT32, ALIGNMENT],
    ["tokenizer.ggml.model", STRING, "gpt2"],
    ["tokenizer.ggml.pre", STRING, "qwen2"],
    ["tokenizer.ggml.tokens", STRINGS, Array.from({ length: config.vocab_size }, (_, id) => `t${id}`)],
    ["tokenizer.ggml.merges", STRINGS, ["t 0"]],
    ["tokenizer.ggml.eos_token_id", UINT32, config.vocab_size - 1],
    ...Object.entries(counts).map(([key, value]) => [`qwen3.${key}`, UINT32, value]),
    ...Object.entries(floats).map(([key, value]) => [`qwen3.${key}`, FLOAT32, value]),
  ];
}

function header(entries, infos) {
  const pieces = [Buffer.from("GGUF"), u32(3), u64(infos.length), u64(entries.length)];
  for (const [key, type, value] of entries) pieces.push(string(key), u32(type), WRITERS[type](value));
  for (const { name, shape, type, offset } of infos)
    pieces.push(
      string(name),
      u32(shape.length),
      ...[...shape].reverse().map(u64),
      u32(TYPES[type]),
      u64(offset),
    );
  return Buffer.concat(pieces);
}

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

function string(text) {
  return Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);
}

/** BF16 as F32: its bits are the upper half. */
function widened(data) {
  const wide = Buffer.alloc(2 * data.length);
  for (let i = 0; i < data.length; i += 2) data.copy(wide, 2 * i + 2, i, i + 2);
  return wide;
}
