/**
 * Owns the least that a piece of work costs: bytes that must come from memory, floating-point operations that must be
 * done, and the time neither lets anyone beat. Pure, but for reading config.json.
 *
 * With W = layers × (D (Hq + 2 Hkv) d + Hq d D + 3 D F) weights in the layers, and H = V D in the head:
 *
 * | work                       | bytes                                       | FLOPs                                |
 * |----------------------------|---------------------------------------------|--------------------------------------|
 * | a decode step: S sequences | 2 (W + H)                                   | S (2 (W + H)                         |
 * | with c tokens before them  | + S · 4 c · layers · Hkv d                  | + 4 c · layers · Hq d)               |
 * | a prompt of n tokens, in   | 2 (steps · W + H), and the K and V that the | 2 n W + 2 H                          |
 * | `steps` steps              | later steps read (as above, for each step)  | + 4 n (n + 1) / 2 · layers · Hq d    |
 *
 * Weights, K and V are BF16: two bytes. Norms, RoPE, activations and the embedding's rows are left out (below 1 %).
 * The bandwidth is memory's: a model that fits in the caches may beat that floor.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Floors } from "../../index.js";

/** The sizes of config.json that count here. */
export interface Shape {
  layers: number;
  hidden: number; // D
  heads: number; // Hq
  kvHeads: number; // Hkv
  headDim: number; // d
  mlp: number; // F
  vocab: number; // V
}

export interface Cost {
  bytes: number;
  flops: number;
}

export interface Floor extends Cost {
  /** Which of the two is in the way. */
  limit: "bandwidth" | "compute";
  seconds: number;
}

/** Of a checkpoint that an engine has loaded, and so checked. */
export async function readShape(directory: string): Promise<Shape> {
  const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as Record<string, number>;
  return {
    layers: config.num_hidden_layers!,
    hidden: config.hidden_size!,
    heads: config.num_attention_heads!,
    kvHeads: config.num_key_value_heads!,
    headDim: config.head_dim ?? 128, // Qwen3Config's default
    mlp: config.intermediate_size!,
    vocab: config.vocab_size!,
  };
}

const kBytes = 2; // of a BF16 number

function layerWeights({ layers, hidden, heads, kvHeads, headDim, mlp }: Shape): number {
  return layers * hidden * ((2 * heads + 2 * kvHeads) * headDim + 3 * mlp);
}

/** K and V of one token, in all layers. */
function cacheBytes({ layers, kvHeads, headDim }: Shape): number {
  return 2 * kBytes * layers * kvHeads * headDim;
}

/** Of one token that attends to one token: q·k and p·v, in all layers. */
function attentionFlops({ layers, heads, headDim }: Shape): number {
  return 4 * layers * heads * headDim;
}

/** One step of `sequences`, each with `context` tokens to attend to. */
export function decodeStepCost(shape: Shape, sequences: number, context: number): Cost {
  const weights = layerWeights(shape) + shape.vocab * shape.hidden;
  return {
    bytes: kBytes * weights + sequences * context * cacheBytes(shape),
    flops: sequences * (2 * weights + context * attentionFlops(shape)),
  };
}

/** A prompt of `tokens` tokens and its first output token, in steps of at most `stepTokens`. */
export function prefillCost(shape: Shape, tokens: number, stepTokens: number): Cost {
  const weights = layerWeights(shape);
  const head = shape.vocab * shape.hidden;
  const steps = Math.ceil(tokens / stepTokens);
  const read = (stepTokens * (steps * (steps - 1))) / 2; // tokens of earlier steps, summed over the steps
  return {
    bytes: kBytes * (steps * weights + head) + read * cacheBytes(shape),
    flops: 2 * (tokens * weights + head) + ((tokens * (tokens + 1)) / 2) * attentionFlops(shape),
  };
}

export function floorOf(cost: Cost, floors: Floors): Floor {
  const reading = cost.bytes / floors.readBytesPerSecond;
  const computing = cost.flops / floors.flopsPerSecond;
  return {
    ...cost,
    limit: reading > computing ? "bandwidth" : "compute",
    seconds: Math.max(reading, computing),
  };
}
