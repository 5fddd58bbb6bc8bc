/** RoPE frequencies: our exact pow and log against V8's, and transformers' formula worked by hand. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { naturalLog, powFraction, ropeFrequencies, yarnScale } from "../../src/checkpoint/rope.js";

const relative = (a: number, b: number) => Math.abs(a - b) / Math.abs(b);

describe("pow and log without libm", () => {
  it("powFraction is within its bound of Math.pow on every exponent that a head_dim gives", () => {
    for (const theta of [10_000, 500_000, 1e6, 5e6, 1e7])
      for (let headDim = 2; headDim <= 512; headDim += 2)
        for (let i = 0; i < headDim; i += 2) {
          const exponent = Math.fround(i / headDim);
          const ours = powFraction(theta, exponent);
          // V8's own error is under 2^-52; ours 1.5 × 2^-52 for each of at most 24 significant bits.
          const dyadic = (headDim & (headDim - 1)) === 0;
          expect(relative(ours, theta ** exponent)).toBeLessThan(dyadic ? 2 ** -50 : 2 ** -47);
        }
  });

  it("powFraction is exact where the answer is", () => {
    expect(powFraction(65536, 0)).toBe(1);
    expect(powFraction(65536, 0.5)).toBe(256);
    expect(powFraction(65536, 0.25)).toBe(16);
    expect(powFraction(65536, 0.8125)).toBe(8192);
  });

  it("naturalLog is within 2^-51 of Math.log", () => {
    const positive = fc.double({ min: 1e-30, max: 1e30, noNaN: true });
    fc.assert(
      fc.property(
        positive,
        (x) => Math.abs(naturalLog(x) - Math.log(x)) <= 2 ** -51 * Math.max(Math.abs(Math.log(x)), 2 ** -20),
      ),
      { numRuns: 5000 },
    );
    expect(naturalLog(1)).toBe(0);
    expect(naturalLog(2)).toBe(Math.LN2);
  });
});

const kYarn = { factor: 4, originalMaxPositionEmbeddings: 64, betaFast: 32, betaSlow: 1, truncate: true };

describe("frequencies", () => {
  it("default: 1 / theta^(2i/d) in float32", () => {
    const frequencies = ropeFrequencies({ headDim: 128, rope: { theta: 1e6, attentionFactor: 1 } });
    expect(frequencies).toHaveLength(64);
    expect(frequencies[0]).toBe(1);
    expect(frequencies[32]).toBe(Math.fround(1e-3));
    for (const [i, frequency] of frequencies.entries())
      expect(frequency).toBe(Math.fround(1 / Math.fround(1e6 ** (i / 64))));
  });

  it("yarn: fast dimensions kept, slow ones divided by the factor, a ramp between", () => {
    // d = 32, theta = 1e6, original 64: bounds floor(-1.32) → 0 and ceil(2.69) → 3, so the ramp is 0, 1/3, 2/3, 1.
    const base = ropeFrequencies({ headDim: 32, rope: { theta: 1e6, attentionFactor: 1 } });
    const yarn = ropeFrequencies({ headDim: 32, rope: { theta: 1e6, attentionFactor: 1, yarn: kYarn } });
    const share = [0, 1 / 3, 2 / 3, ...Array(13).fill(1)];
    for (const [i, frequency] of yarn.entries())
      expect(relative(frequency, base[i]! * (1 - share[i]! * 0.75))).toBeLessThan(2 ** -22);
    expect(yarn[0]).toBe(base[0]);
    expect(yarn[15]).toBe(Math.fround(1 / Math.fround(4 * Math.fround(1e6 ** (15 / 16)))));
  });

  it("yarn without truncate keeps fractional bounds", () => {
    const at = (truncate: boolean) =>
      ropeFrequencies({
        headDim: 32,
        rope: { theta: 1e6, attentionFactor: 1, yarn: { ...kYarn, truncate } },
      });
    expect(at(false)[1]).toBeLessThan(at(true)[1]!);
    expect(at(false)[15]).toBe(at(true)[15]);
  });

  it("yarn's ramp survives bounds that meet", () => {
    const yarn = { ...kYarn, originalMaxPositionEmbeddings: 1 };
    const frequencies = ropeFrequencies({ headDim: 32, rope: { theta: 1e6, attentionFactor: 1, yarn } });
    expect([...frequencies].every((f) => f > 0 && Number.isFinite(f))).toBe(true);
  });

  it("falls from dimension to dimension and stays in (0, 1], for any setting", () => {
    const settings = fc.record({
      headDim: fc.integer({ min: 1, max: 256 }).map((n) => 2 * n),
      theta: fc.double({ min: 1.5, max: 1e12, noNaN: true }),
      factor: fc.double({ min: 1, max: 64, noNaN: true }),
      original: fc.integer({ min: 1, max: 1 << 20 }),
      truncate: fc.boolean(),
    });
    fc.assert(
      fc.property(settings, ({ headDim, theta, factor, original, truncate }) => {
        const yarn = { factor, originalMaxPositionEmbeddings: original, betaFast: 32, betaSlow: 1, truncate };
        const all = ropeFrequencies({ headDim, rope: { theta, attentionFactor: 1, yarn } });
        return all.every((f, i) => f > 0 && f <= 1 && (i === 0 || f <= all[i - 1]! * (1 + 2 ** -20)));
      }),
      { numRuns: 300 },
    );
  });

  it("yarn's scale is 0.1 ln factor + 1", () => {
    expect(yarnScale(4)).toBeCloseTo(1.138629436111989, 14);
    expect(yarnScale(40, 0.8)).toBeCloseTo(0.08 * Math.log(40) + 1, 14);
    expect(yarnScale(1)).toBe(1);
  });
});
