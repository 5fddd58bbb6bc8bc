/**
 * Writes a checkpoint of a real Qwen3's shape with random BF16 weights, for measuring speeds without a download:
 *
 *   node bench/make-checkpoint.mjs [0.6B | 1.7B | 4B | tiny] [directory] [--sparse]
 *
 * The directory (default .cache/bench/qwen3-SIZE, which git ignores) is printed at the end; one that is complete is left
 * as it is. No tokenizer: prompts are token ids. The weights are the same in every run and mean nothing: each tensor is
 * filled from a pool of normal numbers (deviation 0.02, as Qwen3 is initialised), from a place of its own in it. With
 * --sparse they are zeros that take no place on the disk: enough to time a load.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const SHAPES = {
  "0.6B": { hidden: 1024, mlp: 3072, layers: 28, heads: 16, kvHeads: 8 },
  "1.7B": { hidden: 2048, mlp: 6144, layers: 28, heads: 16, kvHeads: 8 },
  "4B": { hidden: 2560, mlp: 9728, layers: 36, heads: 32, kvHeads: 8 },
  tiny: { hidden: 64, mlp: 128, layers: 2, heads: 4, kvHeads: 2 }, // no Qwen3's: for the tests of this script
};
const HEAD_DIM = 128;
const VOCAB = 151_936;
const POOL = 1 << 22; // numbers
const STEP = 1_000_003; // coprime to POOL: how far apart tensors start in it

const isSparse = process.argv.includes("--sparse");
const [size = "0.6B", target] = process.argv.slice(2).filter((word) => word !== "--sparse");
const shape = SHAPES[size];
if (!shape) {
  console.error(`Expected one of ${Object.keys(SHAPES).join(", ")} but received '${size}'`);
  process.exit(2);
}
const directory = resolve(target ?? fileURLToPath(new URL(`../.cache/bench/qwen3-${size}`, import.meta.url)));
const weights = join(directory, "model.safetensors");
if (!existsSync(weights)) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "config.json"), JSON.stringify(config(shape), null, 2));
  writeWeights(`${weights}.part`, tensors(shape));
  renameSync(`${weights}.part`, weights); // only what is complete has the name
}
console.log(directory);

function config({ hidden, mlp, layers, heads, kvHeads }) {
  return {
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    dtype: "bfloat16",
    hidden_act: "silu",
    attention_bias: false,
    hidden_size: hidden,
    intermediate_size: mlp,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: HEAD_DIM,
    vocab_size: VOCAB,
    max_position_embeddings: 40_960,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    tie_word_embeddings: true,
    bos_token_id: 151_643,
    eos_token_id: 151_645,
  };
}

/** [name, shape] of every tensor, in the order of use. */
function tensors({ hidden, mlp, layers, heads, kvHeads }) {
  const q = heads * HEAD_DIM;
  const kv = kvHeads * HEAD_DIM;
  const layer = [
    ["input_layernorm", [hidden]],
    ["self_attn.q_proj", [q, hidden]],
    ["self_attn.k_proj", [kv, hidden]],
    ["self_attn.v_proj", [kv, hidden]],
    ["self_attn.q_norm", [HEAD_DIM]],
    ["self_attn.k_norm", [HEAD_DIM]],
    ["self_attn.o_proj", [hidden, q]],
    ["post_attention_layernorm", [hidden]],
    ["mlp.gate_proj", [mlp, hidden]],
    ["mlp.up_proj", [mlp, hidden]],
    ["mlp.down_proj", [hidden, mlp]],
  ];
  const list = [["model.embed_tokens", [VOCAB, hidden]]];
  for (let i = 0; i < layers; ++i)
    for (const [name, dims] of layer) list.push([`model.layers.${i}.${name}`, dims]);
  list.push(["model.norm", [hidden]]);
  return list.map(([name, dims]) => [`${name}.weight`, dims]);
}

/** safetensors: the header's length, the header, the tensors' bytes. */
function writeWeights(path, list) {
  const header = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const [name, dims] of list) {
    const begin = end;
    end += 2 * count(dims);
    header[name] = { dtype: "BF16", shape: dims, data_offsets: [begin, end] };
  }
  const text = JSON.stringify(header);
  const head = Buffer.from(text.padEnd(Math.ceil(text.length / 64) * 64 + 56)); // data at a multiple of 64
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));

  const file = openSync(path, "w");
  try {
    writeAll(file, Buffer.concat([length, head]));
    if (isSparse) return ftruncateSync(file, length.length + head.length + end);
    const pool = normalPool();
    const ones = new Uint16Array(1 << 16).fill(bf16(1));
    list.forEach(([, dims], i) => {
      if (dims.length === 1) writeAll(file, ones.subarray(0, dims[0]));
      else writeFrom(file, pool, (i * STEP) % POOL, count(dims));
    });
  } finally {
    closeSync(file);
  }
}

/** `total` numbers of the pool, from `start` on and round and round. */
function writeFrom(file, pool, start, total) {
  for (let at = start, left = total; left > 0; at = 0) {
    const part = pool.subarray(at, Math.min(at + left, POOL));
    writeAll(file, part);
    left -= part.length;
  }
}

function writeAll(file, array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

/** Normal numbers as BF16, by Box and Muller from a linear congruential generator. */
function normalPool() {
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Uint16Array.from({ length: POOL }, () =>
    bf16(0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())),
  );
}

/** The nearest BF16's bits. */
function bf16(value) {
  const [bits] = new Uint32Array(Float32Array.of(value).buffer);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function count(dims) {
  return dims.reduce((product, size) => product * size, 1);
}
