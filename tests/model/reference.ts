/**
 * Qwen3's forward pass in float64: slow and obvious, an oracle. Reads a checkpoint directory by itself and shares no
 * code with src/ or native/.
 *
 * With `rounded`, values are rounded to BF16 where DESIGN.md's table says, and sums stay in float64: the same model with
 * one legitimate rounding. Its distance from the unrounded one is the yardstick where no golden BF16 run exists.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bf16, readSafetensors, type Tensor } from "./safetensors.js";

/** Row-major [rows, cols]. */
interface Matrix {
  data: Float64Array;
  rows: number;
  cols: number;
}

export interface ReferenceOutput {
  /** [T, D], after the final norm: the head's input. */
  hidden: Float64Array;
  /** [T, V]; empty where there is no head. */
  logits: Float64Array;
}

interface Rope {
  type: string;
  theta: number;
  factor: number;
  original: number;
}

export class Reference {
  readonly config: Record<string, number>;
  readonly #tensors: Map<string, Tensor>;
  readonly #tied: boolean;
  readonly #round: (x: number) => number;
  readonly #frequencies: number[];
  readonly #ropeScale: number;

  constructor(directory: string, { rounded = false } = {}) {
    const config = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
    this.config = config;
    this.#tied = config.tie_word_embeddings;
    this.#tensors = readWeights(directory);
    this.#round = rounded ? bf16 : (x) => x;
    const scaling = config.rope_parameters ?? config.rope_scaling ?? {};
    const rope: Rope = {
      type: scaling.rope_type ?? "default",
      theta: scaling.rope_theta ?? config.rope_theta,
      factor: scaling.factor ?? 1,
      original: scaling.original_max_position_embeddings ?? config.max_position_embeddings,
    };
    this.#frequencies = ropeFrequencies(config.head_dim, rope);
    this.#ropeScale = rope.type === "yarn" ? 0.1 * Math.log(rope.factor) + 1 : 1;
  }

  get hiddenSize(): number {
    return this.config.hidden_size!;
  }

  forward(tokens: ArrayLike<number>): ReferenceOutput {
    const round = this.#round;
    const { num_hidden_layers: layers } = this.config as { num_hidden_layers: number };
    let residual = this.#embed(tokens);
    for (let i = 0; i < layers; ++i) {
      const layer = (name: string) => this.#weight(`layers.${i}.${name}.weight`);
      const attention = this.#attention(this.#norm(residual, layer("input_layernorm")), layer);
      residual = zip(residual, linear(attention, layer("self_attn.o_proj"), round), (a, b) => round(a + b));
      const x = this.#norm(residual, layer("post_attention_layernorm"));
      const gate = linear(x, layer("mlp.gate_proj"), round);
      const up = linear(x, layer("mlp.up_proj"), round);
      const mlp = zip(gate, up, (g, u) => round((g / (1 + Math.exp(-g))) * u));
      residual = zip(residual, linear(mlp, layer("mlp.down_proj"), round), (a, b) => round(a + b));
    }
    const hidden = this.#norm(residual, this.#weight("norm.weight"));
    const head = this.#tied ? this.#weight("embed_tokens.weight") : this.#tensors.get("lm_head.weight");
    return { hidden: hidden.data, logits: head ? linear(hidden, head, (x) => x).data : new Float64Array() };
  }

  #weight(name: string): Tensor {
    const tensor = this.#tensors.get(`model.${name}`) ?? this.#tensors.get(name);
    if (!tensor) throw new Error(`no tensor ${name}`);
    return tensor;
  }

  #embed(tokens: ArrayLike<number>): Matrix {
    const { values } = this.#weight("embed_tokens.weight");
    const D = this.hiddenSize;
    const x = matrix(tokens.length, D);
    for (let t = 0; t < tokens.length; ++t)
      for (let i = 0; i < D; ++i) x.data[t * D + i] = values[tokens[t]! * D + i]!;
    return x;
  }

  /** Each run of `weight.length` values on its own: a row, or a head. */
  #norm({ data, rows, cols }: Matrix, { values: weight }: Tensor): Matrix {
    const round = this.#round;
    const y = matrix(rows, cols);
    for (let begin = 0; begin < data.length; begin += weight.length) {
      let squares = 0;
      for (let i = 0; i < weight.length; ++i) squares += data[begin + i]! ** 2;
      const scale = 1 / Math.sqrt(squares / weight.length + this.config.rms_norm_eps!);
      for (let i = 0; i < weight.length; ++i)
        y.data[begin + i] = round(round(data[begin + i]! * scale) * weight[i]!);
    }
    return y;
  }

  /** x [T, D] → [T, Hq * d], before o_proj. */
  #attention(x: Matrix, layer: (name: string) => Tensor): Matrix {
    const {
      num_attention_heads: Hq,
      num_key_value_heads: Hkv,
      head_dim: d,
    } = this.config as Record<string, number>;
    const project = (name: string) => linear(x, layer(`self_attn.${name}_proj`), this.#round);
    const q = this.#rotate(this.#norm(project("q"), layer("self_attn.q_norm")));
    const k = this.#rotate(this.#norm(project("k"), layer("self_attn.k_norm")));
    const v = project("v");
    const y = matrix(x.rows, Hq! * d!);
    for (let t = 0; t < x.rows; ++t)
      for (let head = 0; head < Hq!; ++head) {
        const kvHead = Math.floor(head / (Hq! / Hkv!));
        const at = (of: Matrix, row: number, index: number) => row * of.cols + index * d!;
        this.#attend(y, at(y, t, head), q, k, v, t, (row) => at(k, row, kvHead));
      }
    return y;
  }

  /** One query head at position t over the keys 0 … t. */
  #attend(
    y: Matrix,
    to: number,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    t: number,
    kv: (row: number) => number,
  ): void {
    const d = this.config.head_dim!;
    const weights = new Float64Array(t + 1);
    for (let s = 0; s <= t; ++s) {
      let score = 0;
      for (let i = 0; i < d; ++i) score += q.data[to + i]! * k.data[kv(s) + i]!;
      weights[s] = score / Math.sqrt(d);
    }
    const max = weights.reduce((a, b) => Math.max(a, b));
    let sum = 0;
    for (let s = 0; s <= t; ++s) sum += weights[s] = Math.exp(weights[s]! - max);
    for (let i = 0; i < d; ++i) {
      let value = 0;
      for (let s = 0; s <= t; ++s) value += weights[s]! * v.data[kv(s) + i]!;
      y.data[to + i] = this.#round(value / sum);
    }
  }

  /** RoPE: pairs (i, i + d/2) of every head turn by position × frequency i. */
  #rotate(x: Matrix): Matrix {
    const d = this.config.head_dim!;
    const half = d / 2;
    const y = matrix(x.rows, x.cols);
    for (let t = 0; t < x.rows; ++t)
      for (let i = 0; i < half; ++i) {
        const angle = t * this.#frequencies[i]!;
        const cos = this.#ropeScale * Math.cos(angle);
        const sin = this.#ropeScale * Math.sin(angle);
        for (let head = t * x.cols; head < (t + 1) * x.cols; head += d) {
          const [a, b] = [x.data[head + i]!, x.data[head + half + i]!];
          y.data[head + i] = this.#round(a * cos - b * sin);
          y.data[head + half + i] = this.#round(b * cos + a * sin);
        }
      }
    return y;
  }
}

function readWeights(directory: string): Map<string, Tensor> {
  const index = join(directory, "model.safetensors.index.json");
  const files: string[] = existsSync(index)
    ? [
        ...new Set(
          Object.values(JSON.parse(readFileSync(index, "utf8")).weight_map as Record<string, string>),
        ),
      ]
    : ["model.safetensors"];
  return new Map(files.flatMap((file) => [...readSafetensors(join(directory, file))]));
}

/** As in the YaRN paper, and in transformers with its defaults: beta_fast 32, beta_slow 1, bounds in whole dimensions. */
function ropeFrequencies(d: number, { type, theta, factor, original }: Rope): number[] {
  const plain = Array.from({ length: d / 2 }, (_, i) => theta ** ((-2 * i) / d));
  if (type === "default") return plain;
  const dimension = (turns: number) =>
    (d * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(dimension(32)), 0);
  const high = Math.min(Math.ceil(dimension(1)), d - 1);
  return plain.map((frequency, i) => {
    const slow = Math.min(Math.max((i - low) / (high === low ? 0.001 : high - low), 0), 1);
    return frequency * (1 - slow) + (frequency / factor) * slow;
  });
}

function matrix(rows: number, cols: number): Matrix {
  return { data: new Float64Array(rows * cols), rows, cols };
}

function zip(a: Matrix, b: Matrix, f: (a: number, b: number) => number): Matrix {
  return { ...a, data: a.data.map((x, i) => f(x, b.data[i]!)) };
}

/** y = x Wᵀ; x [T, K], W [N, K]. */
function linear(x: Matrix, { shape, values: w }: Tensor, round: (x: number) => number): Matrix {
  const [N, K] = shape as [number, number];
  const y = matrix(x.rows, N);
  for (let t = 0; t < x.rows; ++t)
    for (let n = 0; n < N; ++n) {
      let sum = 0;
      for (let k = 0; k < K; ++k) sum += x.data[t * K + k]! * w[n * K + k]!;
      y.data[t * N + n] = round(sum);
    }
  return y;
}

/** Root mean square of a − b. */
export function rmsDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`);
  let squares = 0;
  for (let i = 0; i < a.length; ++i) squares += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(squares / a.length);
}
