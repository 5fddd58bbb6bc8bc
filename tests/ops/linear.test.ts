/** linear and gate_up against float64, on every compute path: odd sizes, chunk edges, odd bytes, every tile. */
import { describe, expect, it } from "vitest";
import {
  at,
  type Bits,
  bits,
  gapsIntact,
  misaligned,
  opsFor,
  paths,
  poisonedBits,
  poisonedFloats,
  random,
  randomBits,
  stride,
} from "./native.js";
import { type Bounded, dot, row, siluMul, worst } from "./reference.js";

const TOKENS = [1, 2, 3, 4, 5, 16, 17, 33];

function dots(x: Bits, token: number, w: Bits, parts = 1): Bounded[] {
  return Array.from({ length: w.rows }, (_, output) => dot(x, token, w, output, parts));
}

// The contract asks equality of bits within a path only. What is plain arithmetic must agree all the same, or an order is
// wrong; how a CPU rounds inside vdpbf16ps is that CPU's business.
it("every path but the hardware's dot product gives the same bits: products are exact and the order is one", () => {
  const next = random(12);
  const x = randomBits(next, 7, 2100);
  const w = randomBits(next, 9, 2100);
  const results = paths
    .filter((path) => path !== "avx512-bf16")
    .map((path) => {
      const y = poisonedFloats(7, 9);
      opsFor(path).linear(y, x, w, 2);
      return bits(y);
    });
  expect(new Set(results).size).toBe(1);
});

describe.each(paths)("%s", (path) => {
  // On a device they pass through buffers of 2 MiB, several at once.
  it.each([
    { rows: 1, cols: 7, gap: 0 },
    { rows: 1503, cols: 4001, gap: 0 },
    { rows: 700, cols: 5000, gap: 3 },
    { rows: 2, cols: 2_500_001, gap: 3 },
  ])("place [$rows, $cols] with gaps of $gap", ({ rows, cols, gap }) => {
    const w = poisonedBits(rows, cols, gap);
    for (let i = 0; i < rows * (cols + gap); i++) w.data[i] = i * 40503 + (i >> 16);
    const y = poisonedBits(rows, cols);
    opsFor(path).place(y, misaligned(w));
    const rowOf = (m: Bits, r: number) => m.data.subarray(r * stride(m), r * stride(m) + cols);
    const differ = [...Array(rows).keys()].filter((r) => {
      const expected = rowOf(w, r);
      return !rowOf(y, r).every((value, i) => value === expected[i]);
    });
    expect(differ).toEqual([]);
    expect(gapsIntact(y)).toBe(true);
  });

  describe.each([
    { k: 1, n: 1, parts: 1 },
    { k: 2, n: 3, parts: 2 },
    { k: 31, n: 4, parts: 1 },
    { k: 32, n: 5, parts: 1 },
    { k: 66, n: 7, parts: 2 },
    { k: 257, n: 130, parts: 1 },
    { k: 1023, n: 6, parts: 1 },
    { k: 1024, n: 9, parts: 1 },
    { k: 1025, n: 8, parts: 1 },
    { k: 2046, n: 5, parts: 2 },
    { k: 2055, n: 11, parts: 1 },
    { k: 4110, n: 4, parts: 2 },
  ])("linear K=$k N=$n parts=$parts", ({ k, n, parts }) => {
    const next = random(k * 31 + n);
    const x = randomBits(next, 33, k);
    const w = randomBits(next, n, k);
    const expected = Array.from({ length: 33 }, (_, token) => dots(x, token, w, parts));

    it.each(TOKENS)("T=%i", (tokens) => {
      const y = poisonedFloats(tokens, n);
      opsFor(path).linear(y, { ...x, rows: tokens }, w, parts);
      for (let t = 0; t < tokens; t++) expect(worst(row(y, t), expected[t]!)).toBeLessThanOrEqual(1);
      expect(gapsIntact(y)).toBe(true);
    });

    it("weights and activations at odd bytes", () => {
      const y = poisonedFloats(5, n);
      const moved = poisonedFloats(5, n);
      opsFor(path).linear(y, { ...x, rows: 5 }, w, parts);
      opsFor(path).linear(moved, misaligned({ ...x, rows: 5 }), misaligned(w), parts);
      expect(moved.data).toEqual(y.data);
    });
  });

  it("adds two parts in the order of the tree", () => {
    const next = random(5);
    const x = randomBits(next, 3, 2050, 1, 0);
    const w = randomBits(next, 5, 2050, 1, 0);
    const whole = poisonedFloats(3, 5);
    opsFor(path).linear(whole, x, w, 2);
    const halves = [0, 1].map((part) => {
      const y = poisonedFloats(3, 5);
      const half = (m: Bits): Bits => ({
        ...m,
        data: m.data.subarray(part * 1025),
        cols: 1025,
        stride: 2050,
      });
      opsFor(path).linear(y, half(x), half(w), 1);
      return y;
    });
    for (let t = 0; t < 3; t++) {
      for (let n = 0; n < 5; n++) {
        expect(at(whole, t, n)).toBe(Math.fround(at(halves[0]!, t, n) + at(halves[1]!, t, n)));
      }
    }
  });

  it.each([
    { tokens: 1, d: 64, f: 200 },
    { tokens: 3, d: 80, f: 131 },
    { tokens: 17, d: 1030, f: 19 },
    { tokens: 40, d: 33, f: 1 },
  ])("gate_up T=$tokens D=$d F=$f", ({ tokens, d, f }) => {
    const next = random(d + f);
    const x = randomBits(next, tokens, d);
    const gate = randomBits(next, f, d, 0.3);
    const up = randomBits(next, f, d, 0.3);
    const y = poisonedBits(tokens, f);
    opsFor(path).gateUp(y, x, misaligned(gate), up);
    for (let t = 0; t < tokens; t++) {
      const gates = dots(x, t, gate);
      const ups = dots(x, t, up);
      const expected = gates.map((g, i) => siluMul(g, ups[i]!));
      expect(worst(row(y, t), expected)).toBeLessThanOrEqual(1);
    }
    expect(gapsIntact(y)).toBe(true);
  });

  it("spreads many rows and many tokens over the threads", () => {
    const next = random(77);
    const x = randomBits(next, 150, 320);
    const w = randomBits(next, 70, 320);
    const y = poisonedFloats(150, 70);
    opsFor(path, 4).linear(y, x, w, 1);
    for (const t of [0, 15, 16, 79, 149]) expect(worst(row(y, t), dots(x, t, w))).toBeLessThanOrEqual(1);
    expect(gapsIntact(y)).toBe(true);
  });

  it("refuses shapes that do not fit", () => {
    const x = poisonedBits(2, 8);
    expect(() => opsFor(path).linear(poisonedFloats(2, 4), x, poisonedBits(5, 8), 1)).toThrow(
      /linear: .*\[N, K\]/,
    );
    expect(() => opsFor(path).linear(poisonedFloats(2, 4), { ...x, cols: 7 }, poisonedBits(4, 7), 2)).toThrow(
      /parts/,
    );
    expect(() => opsFor(path).gateUp(poisonedBits(2, 4), x, poisonedBits(4, 8), poisonedBits(3, 8))).toThrow(
      /gate_up/,
    );
  });
});
