/**
 * The numbers of a report: pass@k and pass^k from n attempts at each task, intervals by resampling tasks, and whether two
 * runs differ by more than chance. Pure, and deterministic: random numbers come from a fixed seed.
 */

/** A task's attempts: how many, and how many of them succeeded. */
export interface Attempts {
  n: number;
  successes: number;
}

export interface Estimate {
  estimate: number;
  /** 95 % interval. */
  low: number;
  high: number;
}

const kResamples = 10_000;
const kLevel = 0.95;
const kSeed = 1;

/** The chance that one of k attempts succeeds: 1 - C(n - c, k) / C(n, k), unbiased. k in [1, n]. */
export const passAtK = ({ n, successes }: Attempts, k: number): number => 1 - allOf(n - successes, n, k);

/** The chance that k attempts all succeed: C(c, k) / C(n, k), unbiased. k in [1, n]. */
export const passHatK = ({ n, successes }: Attempts, k: number): number => allOf(successes, n, k);

/** The chance that k of n, drawn without putting back, are all among `good` of them. */
function allOf(good: number, n: number, k: number): number {
  let chance = 1;
  for (let i = 0; i < k; ++i) chance *= Math.max(0, good - i) / (n - i);
  return chance;
}

/**
 * Means of several figures over tasks, with percentile intervals. `strata` are groups of tasks, such as domains, whose sizes
 * are the benchmark's and not chance: each is resampled for itself. A row holds one task's figures.
 */
export function estimateMeans(strata: readonly (readonly (readonly number[])[])[]): Estimate[] {
  const rows = strata.flat();
  const width = rows[0]?.length ?? 0;
  const random = randomIntegers(kSeed);
  const resampled = Array.from({ length: width }, () => new Float64Array(kResamples));
  for (let r = 0; r < kResamples; ++r)
    for (const stratum of strata)
      for (let i = 0; i < stratum.length; ++i) {
        const row = stratum[random(stratum.length)]!;
        for (let j = 0; j < width; ++j) resampled[j]![r]! += row[j]!;
      }
  return resampled.map((sums, j) => {
    sums.sort();
    const at = (share: number) => sums[Math.round(share * (kResamples - 1))]! / rows.length;
    const estimate = rows.reduce((sum, row) => sum + row[j]!, 0) / rows.length;
    return { estimate, low: at((1 - kLevel) / 2), high: at((1 + kLevel) / 2) };
  });
}

/**
 * The exact sign test, two-sided: how likely so unequal a split of `better + worse` differing tasks is, were each as
 * likely to fall either way. With one attempt a task this is McNemar's exact test. 1 where nothing differs.
 */
export function signTest(better: number, worse: number): number {
  const n = better + worse;
  let log = -n * Math.LN2; // of exactly i, where each split has the chance 2^-n; in logarithms, for n may be large
  let tail = 0;
  for (let i = 0; i <= Math.min(better, worse); ++i) {
    tail += Math.exp(log);
    log += Math.log((n - i) / (i + 1));
  }
  return Math.min(1, 2 * tail);
}

/** Integers in [0, n): a Weyl sequence through a mixing function, the same on every machine. n below 2^32. */
function randomIntegers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return Math.floor((((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32) * n);
  };
}
