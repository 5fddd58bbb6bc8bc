/**
 * RoPE frequencies, as transformers computes them (modeling_rope_utils.py: default and YaRN), ready for native code.
 * Runs once per load on the main thread; pure. Must not use Math.pow, Math.log or Math.exp: V8 may change their last
 * bit between versions, and the lockstep contract does not list the Node version. IEEE 754 fixes + - * / and sqrt.
 * transformers works in float32 here; `f32` stands wherever torch rounds.
 */
export interface YarnConfig {
  factor: number;
  originalMaxPositionEmbeddings: number;
  betaFast: number;
  betaSlow: number;
  /** Round the ramp's bounds to whole dimensions. */
  truncate: boolean;
}

export interface RopeConfig {
  theta: number;
  /** Multiplies cos and sin; a float32 value, 1 without YaRN. */
  attentionFactor: number;
  yarn?: YarnConfig;
}

const f32 = Math.fround;

/**
 * base^exponent for base > 0 and exponent in [0, 1): the product of base^(1/2^k) over the set bits of the exponent.
 * Each square root is rounded correctly and halves the error it inherits, so n set bits give a relative error under
 * 1.5 n 2^-52: 2^-48 at head_dim 128, and at most 2^-46 for any float32 exponent. The result is then rounded to 2^-24.
 */
export function powFraction(base: number, exponent: number): number {
  let result = 1;
  let root = base;
  for (let rest = exponent; rest > 0; ) {
    root = Math.sqrt(root);
    rest *= 2;
    if (rest >= 1) {
      result *= root;
      rest -= 1;
    }
  }
  return result;
}

/** ln 2 in two parts; the first has trailing zeros, so that its product with a small integer is exact. */
const kLn2High = 0.6931471803691238;
const kLn2Low = 1.9082149292705877e-10;

/** The natural logarithm of a positive finite number: x = m · 2^e with m near 1, ln m = 2 atanh((m − 1) / (m + 1)). */
export function naturalLog(x: number): number {
  let mantissa = x;
  let exponent = 0;
  for (; mantissa > Math.SQRT2; mantissa /= 2) exponent += 1;
  for (; mantissa < Math.SQRT1_2; mantissa *= 2) exponent -= 1;
  const s = (mantissa - 1) / (mantissa + 1); // |s| <= 0.1716, so 12 terms reach 2^-60
  const square = s * s;
  let series = 0;
  for (let k = 23; k >= 3; k -= 2) series = (series + 1 / k) * square;
  return exponent * kLn2High + (2 * s + (2 * s * series + exponent * kLn2Low));
}

/** YaRN's scale on cos and sin where the config gives none: get_mscale of transformers. */
export function yarnScale(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * naturalLog(factor) + 1;
}

/**
 * The rotation per position of each pair (i, i + d/2), in radians.
 * cos and sin are to be multiplied by `config.rope.attentionFactor`.
 */
export function ropeFrequencies(config: { headDim: number; rope: RopeConfig }): Float32Array {
  const { headDim, rope } = config;
  const frequencies = new Float32Array(headDim / 2); // [d/2]
  const ramp = rope.yarn === undefined ? undefined : yarnRamp(headDim, rope.theta, rope.yarn);
  for (let i = 0; i < frequencies.length; i += 1) {
    const period = f32(powFraction(f32(rope.theta), f32((2 * i) / headDim)));
    const extrapolated = f32(1 / period);
    if (rope.yarn === undefined || ramp === undefined) {
      frequencies[i] = extrapolated;
      continue;
    }
    const interpolated = f32(1 / f32(f32(rope.yarn.factor) * period));
    const keep = f32(1 - ramp(i));
    frequencies[i] = f32(f32(interpolated * f32(1 - keep)) + f32(extrapolated * keep));
  }
  return frequencies;
}

/** From 0 (fast dimensions, kept) to 1 (slow ones, divided by the factor). Bounds in double, the ramp in float32. */
function yarnRamp(headDim: number, theta: number, yarn: YarnConfig): (i: number) => number {
  const dimensionOf = (rotations: number) =>
    (headDim * naturalLog(yarn.originalMaxPositionEmbeddings / (rotations * 2 * Math.PI))) /
    (2 * naturalLog(theta));
  let low = dimensionOf(yarn.betaFast);
  let high = dimensionOf(yarn.betaSlow);
  if (yarn.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, headDim - 1);
  if (low === high) high += 0.001; // transformers' guard against a division by zero
  const width = f32(high - low);
  return (i) => Math.min(Math.max(f32(f32(i - f32(low)) / width), 0), 1);
}
