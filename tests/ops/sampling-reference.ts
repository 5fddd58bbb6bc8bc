/** The sampling rules in float64, as plainly as they can be written: docs/numerics.md in code. */
import { native, type SampleRow } from "./native.js";

export function logSumExp(x: number[]): number {
  const max = Math.max(...x);
  return max + Math.log(x.reduce((sum, v) => sum + Math.exp(v - max), 0));
}

/** Logits after penalties, bias, banned tokens and temperature; float32 where the engine is. */
export function adjusted(logits: Float32Array, row: SampleRow): number[] {
  const f = Math.fround;
  const x = Array.from(logits);
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = row;
  for (const [token, , outputCount] of row.history ?? []) {
    const penalty = f(repetitionPenalty);
    x[token] = x[token]! > 0 ? f(x[token]! / penalty) : f(x[token]! * penalty);
    if (outputCount === 0) continue;
    x[token] = f(x[token]! - f(f(frequencyPenalty) * outputCount));
    x[token] = f(x[token]! - f(presencePenalty));
  }
  for (const [token, bias] of row.bias ?? []) x[token] = f(x[token]! + f(bias));
  for (const token of row.banned ?? []) x[token] = -Infinity;
  const temperature = f(row.temperature ?? 0);
  return temperature > 0 ? x.map((v) => f(v / temperature)) : x;
}

/** Token ids, most likely first, ties to the lower id. */
export function ranked(x: number[]): number[] {
  return [...x.keys()].filter((i) => x[i]! > -Infinity).sort((a, b) => x[b]! - x[a]! || a - b);
}

/** The ids that top-k, top-p and min-p leave. */
export function support(x: number[], { topK = 0, topP = 1, minP = 0 }: SampleRow): number[] {
  let kept = ranked(x);
  if (topK > 0) kept = kept.slice(0, topK);
  if (topP < 1) {
    const total = logSumExp(kept.map((i) => x[i]!));
    let before = 0;
    kept = kept.filter((i, place) => {
      const keep = place === 0 || before < Math.fround(topP);
      before += Math.exp(x[i]! - total);
      return keep;
    });
  }
  if (minP > 0)
    kept = kept.filter((i, place) => place === 0 || Math.exp(x[i]! - x[kept[0]!]!) >= Math.fround(minP));
  return kept;
}

/** Uniform number of a token in the draw. */
export function uniform(token: number, { seed = 0, sampleIndex = 0, position = 0 }: SampleRow): number {
  const key = Uint32Array.of(seed % 2 ** 32, Math.floor(seed / 2 ** 32));
  const words = native.philox(Uint32Array.of(token >> 2, position, sampleIndex, 0), key);
  return (words[token & 3]! + 0.5) / 2 ** 32;
}

/** The exponential race over all the kept tokens. */
export function draw(x: number[], kept: number[], row: SampleRow): number {
  let best = -Infinity;
  let winner = -1;
  for (const token of kept) {
    const score = x[token]! - Math.log(-Math.log(uniform(token, row)));
    if (score > best || (score === best && token < winner)) [best, winner] = [score, token];
  }
  return winner;
}
