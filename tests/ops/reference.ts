/**
 * The verbs in float64, as plainly as they can be written, and how far float32 and BF16 may stray from them.
 *
 * Bounds are derived, not tuned. U32 and U16 are the unit roundoffs of float32 and BF16 (24 and 8 significant bits; half a unit in the last place,
 * relative). A float32 sum of terms t_i in which each term passes at most n roundings is off by at most
 * n * U32 * sum |t_i| (first order; the slack factor SECOND_ORDER covers the rest: n * U32 stays below 1e-3 here).
 * A value rounded to BF16 is off by U16 times itself on top.
 */
import { at, type Bits, type Floats, fromBf16 } from "./native.js";

export const U32 = 2 ** -24;
export const U16 = 2 ** -8;
const SECOND_ORDER = 1.01;
// Products of denormals count as 0 on some paths.
const TINY = 2 ** -120;

export interface Bounded {
  value: number;
  bound: number;
}

/** Roundings that a term of a dot product over K passes: its lane's chain, the fold of 16 lanes, chunks, parts. */
export function dotDepth(k: number, parts: number): number {
  const part = k / parts;
  return 2 * Math.ceil(Math.min(part, 1024) / 32) + 4 + Math.ceil(part / 1024) + (parts - 1);
}

export function dot(x: Bits, row: number, w: Bits, output: number, parts = 1): Bounded {
  let value = 0;
  let absolute = 0;
  for (let i = 0; i < x.cols; i++) {
    const term = at(x, row, i) * at(w, output, i);
    value += term;
    absolute += Math.abs(term);
  }
  return { value, bound: SECOND_ORDER * dotDepth(x.cols, parts) * U32 * absolute + TINY };
}

/** bf16(bf16(x / sqrt(mean(x^2) + eps)) * weight) */
export function rmsNorm(x: number[], weight: number[], eps: number): Bounded[] {
  const mean = x.reduce((sum, v) => sum + v * v, 0) / x.length;
  const scale = 1 / Math.sqrt(mean + eps);
  // The sum's chain and fold, then / n, + eps, sqrt, 1 /, * x: half of what happens below the root reaches the result.
  const relative = (2 * U16 + (x.length / 32 + 10) * U32) * SECOND_ORDER;
  return x.map((v, i) => {
    const value = v * scale * weight[i]!;
    return { value, bound: Math.abs(value) * relative + TINY };
  });
}

export const silu = (x: number): number => x / (1 + Math.exp(-x));

/** silu(bf16(gate)) * bf16(up), from the unrounded gate and up and their bounds. |silu'| < 1.1. */
export function siluMul(gate: Bounded, up: Bounded): Bounded {
  const value = silu(gate.value) * up.value;
  const gateError = gate.bound + U16 * Math.abs(gate.value);
  const upError = up.bound + U16 * Math.abs(up.value);
  const bound =
    1.1 * gateError * (Math.abs(up.value) + upError) +
    Math.abs(silu(gate.value)) * upError +
    (U16 + 8 * U32) * Math.abs(value);
  return { value, bound: bound * SECOND_ORDER + TINY };
}

/** One query over the keys [0, keys.length): softmax(q k / sqrt(d)) v. */
export function attention(q: number[], keys: number[][], values: number[][]): Bounded[] {
  const d = q.length;
  let scoreError = 0;
  const scores = keys.map((key) => {
    let sum = 0;
    let absolute = 0;
    for (let i = 0; i < d; i++) {
      sum += q[i]! * key[i]!;
      absolute += Math.abs(q[i]! * key[i]!);
    }
    scoreError = Math.max(scoreError, (d + 2) * U32 * (absolute / Math.sqrt(d)));
    return sum / Math.sqrt(d);
  });
  const max = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - max));
  const total = weights.reduce((sum, w) => sum + w, 0);
  // Each weight: the scores' error twice (its own and the maximum's), the rounding of the difference, 2 ulp of exp; each
  // sum: a chain of 256 keys and a merge per split of 4 roundings and two exponentials. Numerator and denominator.
  const spread = max - Math.min(...scores);
  const splits = Math.ceil(keys.length / 256);
  const relative =
    2 * (2 * scoreError + (spread + 4 + Math.min(keys.length, 256) + splits * (8 + spread)) * U32);
  return q.map((_, i) => {
    let value = 0;
    let absolute = 0;
    values.forEach((v, key) => {
      value += (weights[key]! / total) * v[i]!;
      absolute += (weights[key]! / total) * Math.abs(v[i]!);
    });
    return { value, bound: SECOND_ORDER * (relative * absolute + U16 * Math.abs(value)) + TINY };
  });
}

export function row(m: Bits | Floats, index: number): number[] {
  return Array.from({ length: m.cols }, (_, i) => at(m, index, i));
}

export const numbers = (bits: Uint16Array): number[] => Array.from(bits, fromBf16);

/** The worst |actual - value| / bound; above 1 is a failure, and NaN becomes infinity. */
export function worst(actual: number[], expected: Bounded[]): number {
  let ratio = 0;
  expected.forEach(({ value, bound }, i) => {
    const error = Math.abs(actual[i]! - value) / bound;
    ratio = Math.max(ratio, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
  });
  return ratio;
}
