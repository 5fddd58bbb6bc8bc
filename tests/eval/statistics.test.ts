/** The numbers of a report against values worked out by hand. */
import { expect, it } from "vitest";
import { estimateMeans, passAtK, passHatK, signTest } from "../../src/eval/statistics.js";

it.each([
  // n, successes, k, pass@k, pass^k
  [4, 0, 1, 0, 0],
  [4, 4, 4, 1, 1],
  [4, 1, 1, 1 / 4, 1 / 4],
  [4, 1, 2, 1 / 2, 0], // of 6 pairs, 3 have the success
  [4, 2, 2, 5 / 6, 1 / 6],
  [4, 3, 2, 1, 1 / 2],
  [8, 3, 4, 1 - 5 / 70, 0], // C(5, 4) = 5 of C(8, 4) = 70 have none
  [8, 5, 4, 1, 5 / 70],
])("of %i attempts with %i successes, %i", (n, successes, k, any, all) => {
  expect(passAtK({ n, successes }, k)).toBeCloseTo(any, 12);
  expect(passHatK({ n, successes }, k)).toBeCloseTo(all, 12);
});

it.each([
  [0, 0, 1],
  [5, 5, 1],
  [1, 0, 1],
  [0, 5, 2 / 32],
  [6, 0, 2 / 64],
  [8, 2, (2 * (1 + 10 + 45)) / 1024],
  [3, 10, (2 * (1 + 13 + 78 + 286)) / 8192],
  [0, 3000, 0],
])("a sign test of %i against %i", (better, worse, p) => {
  expect(signTest(better, worse)).toBeCloseTo(p, 12);
  expect(signTest(worse, better)).toBe(signTest(better, worse));
});

it("is exact where a half to the n is no double any more", () => {
  expect(signTest(600, 600)).toBe(1);
  expect(signTest(1050, 1150)).toBeCloseTo(0.0348, 3); // the normal distribution's, with continuity correction
});

it("gives the mean, and the binomial's spread around it", () => {
  const rows = Array.from({ length: 100 }, (_, i) => [Number(i < 40), i]);
  const [share, place] = estimateMeans([rows]);
  expect(share!.estimate).toBeCloseTo(0.4, 12);
  // 0.4 ± 1.96 · sqrt(0.4 · 0.6 / 100): within a task or two of what resampling gives.
  expect(share!.low).toBeCloseTo(0.304, 1.5);
  expect(share!.high).toBeCloseTo(0.496, 1.5);
  expect(place!.estimate).toBeCloseTo(49.5, 12);
  expect(estimateMeans([rows])).toEqual([share, place]); // again, the same
});

it("resamples each stratum for itself", () => {
  // Within a stratum all tasks are alike: nothing is left to chance.
  const strata = [Array.from({ length: 30 }, () => [1]), Array.from({ length: 10 }, () => [0])];
  expect(estimateMeans(strata)).toEqual([{ estimate: 0.75, low: 0.75, high: 0.75 }]);
  const [mixed] = estimateMeans([strata.flat()]);
  expect(mixed!.high - mixed!.low).toBeGreaterThan(0.2);
});
