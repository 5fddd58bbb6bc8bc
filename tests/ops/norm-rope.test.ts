/** Norms, rope and project_qkv, on every compute path. project_qkv must equal the composition of tested verbs to the bit. */
import { describe, expect, it } from "vitest";
import { kIndex, vIndex } from "./kv-cache.js";
import {
  at,
  type Bits,
  bf16,
  bits,
  type Cache,
  fromBf16,
  gapsIntact,
  misaligned,
  type Ops,
  opsFor,
  POISON,
  paths,
  poisonedBits,
  poisonedFloats,
  random,
  randomBits,
  roundBf16,
  set,
  takeRows,
} from "./native.js";
import { numbers, rmsNorm, row, U32, worst } from "./reference.js";

describe.each(paths)("%s", (path) => {
  const ops = opsFor(path);

  it.each([1, 2, 15, 16, 17, 80, 128, 1024, 2570])("rms_norm D=%i", (d) => {
    const next = random(d);
    const x = randomBits(next, 5, d, 3);
    const weight = randomBits(next, 1, d, 1, 0).data;
    const y = poisonedBits(5, d);
    ops.rmsNorm(y, x, weight, 1e-6);
    for (let t = 0; t < 5; t++) {
      expect(worst(row(y, t), rmsNorm(row(x, t), numbers(weight), 1e-6))).toBeLessThanOrEqual(1);
    }
    expect(gapsIntact(y)).toBe(true);
  });

  it.each([3, 64, 1000])("add_norm D=%i", (d) => {
    const next = random(d);
    const residual = randomBits(next, 4, d, 3);
    const before = { ...residual, data: residual.data.slice() };
    const sum = poisonedFloats(4, d);
    for (let t = 0; t < 4; t++) for (let i = 0; i < d; i++) set(sum, t, i, next() * 4 - 2);
    const weight = randomBits(next, 1, d, 1, 0).data;
    const y = poisonedBits(4, d);
    const normed = poisonedBits(4, d);
    ops.addNorm(residual, y, sum, weight, 1e-5);
    ops.rmsNorm(normed, residual, weight, 1e-5);
    for (let t = 0; t < 4; t++) {
      for (let i = 0; i < d; i++) {
        const expected = bf16(Math.fround(at(before, t, i) + roundBf16(at(sum, t, i))));
        expect(residual.data[t * (d + 3) + i]).toBe(expected);
      }
    }
    expect(bits(y)).toBe(bits(normed));
    expect(gapsIntact(residual) && gapsIntact(y)).toBe(true);
  });

  it("rounds NaN, infinities, ties and denormals as BF16 does", () => {
    const one = [0x3f80];
    const cases = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 2 ** -130 * 1.01, Number.NaN, Infinity, 3.4e38, -0];
    for (const value of cases) {
      const residual: Bits = { data: Uint16Array.from([0x8000]), rows: 1, cols: 1 }; // -0 + x = x
      ops.addNorm(
        residual,
        poisonedBits(1, 1),
        { data: Float32Array.of(value), rows: 1, cols: 1 },
        Uint16Array.from(one),
        1,
      );
      const actual = fromBf16(residual.data[0]!);
      expect(Object.is(actual, roundBf16(value))).toBe(true);
    }
  });

  it.each([
    { d: 2, theta: 1e4, scale: 1 },
    { d: 80, theta: 1e6, scale: 1 },
    { d: 128, theta: 1e6, scale: 1.1386294 },
  ])("rope_table d=$d", ({ d, theta, scale }) => {
    const invFreq = Float32Array.from({ length: d / 2 }, (_, i) => theta ** ((-2 * i) / d));
    const positions = Int32Array.of(0, 1, 2, 3, 17, 1000, 40959, 131071, 1000000);
    const table = poisonedFloats(positions.length, d);
    ops.ropeTable(table, positions, invFreq, scale);
    const factor = Math.fround(scale);
    for (let t = 0; t < positions.length; t++) {
      for (let i = 0; i < d / 2; i++) {
        const angle = Math.fround(positions[t]! * invFreq[i]!);
        // Math.cos is good to an ulp of double, so after rounding to float32 the result may be one float32 ulp off.
        expect(Math.abs(at(table, t, i) - Math.cos(angle) * factor)).toBeLessThanOrEqual(2.01 * U32 * factor);
        expect(Math.abs(at(table, t, d / 2 + i) - Math.sin(angle) * factor)).toBeLessThanOrEqual(
          2.01 * U32 * factor,
        );
      }
    }
    expect(gapsIntact(table)).toBe(true);
    expect([at(table, 0, 0), at(table, 0, d / 2)]).toEqual([factor, 0]);
  });

  it.each([
    { d: 2, heads: 1, kvHeads: 1, hidden: 5, tokens: 1 },
    { d: 16, heads: 6, kvHeads: 3, hidden: 33, tokens: 20 },
    { d: 80, heads: 2, kvHeads: 2, hidden: 100, tokens: 17 },
    { d: 128, heads: 8, kvHeads: 1, hidden: 1040, tokens: 3 },
    { d: 200, heads: 3, kvHeads: 1, hidden: 64, tokens: 37 },
  ])(
    "project_qkv d=$d Hq=$heads Hkv=$kvHeads D=$hidden T=$tokens",
    ({ d, heads, kvHeads, hidden, tokens }) => {
      const next = random(d * heads + tokens);
      const x = randomBits(next, tokens, hidden);
      const [wq, wk, wv] = [heads, kvHeads, kvHeads].map((h) => randomBits(next, h * d, hidden, 0.2)) as [
        Bits,
        Bits,
        Bits,
      ];
      const [qNorm, kNorm] = [0, 1].map(() => randomBits(next, 1, d, 1, 0).data) as [
        Uint16Array,
        Uint16Array,
      ];
      const rope = poisonedFloats(tokens, d);
      for (let t = 0; t < tokens; t++) for (let i = 0; i < d; i++) set(rope, t, i, next() * 2 - 1);
      // Two sequences and, where there are enough tokens, a row that belongs to none.
      const first = Math.ceil(tokens / 2);
      const second = Math.max(0, tokens - first - 1);
      const numBlocks = 12;
      const cache = emptyCache(numBlocks, kvHeads, d);
      const q = poisonedBits(tokens, heads * d);
      ops.projectQkv({
        q,
        cache,
        x,
        wq: misaligned(wq),
        wk,
        wv: misaligned(wv),
        qNorm,
        kNorm,
        eps: 1e-6,
        rope,
        scratch: poisonedBits(tokens, 2 * kvHeads * d),
        sequences: [
          { firstRow: 0, numTokens: first, startPosition: 13, blocks: Int32Array.of(7, 2, 5) },
          { firstRow: first, numTokens: second, startPosition: 32, blocks: Int32Array.of(-1, -1, 9, 0) },
        ],
      });
      const project = (w: Bits) => {
        const y = poisonedFloats(tokens, w.rows);
        ops.linear(y, x, w, 1);
        return y;
      };
      const expectedQ = normRotate(ops, project(wq), qNorm, rope, d);
      const expectedK = normRotate(ops, project(wk), kNorm, rope, d);
      const v = project(wv);
      expect(bits(q)).toBe(bits(expectedQ));
      expect(gapsIntact(q)).toBe(true);

      const expected = emptyCache(numBlocks, kvHeads, d);
      const slots = [
        ...Array.from({ length: first }, (_, i) => [i, [7, 2, 5][(13 + i) >> 4]!, (13 + i) & 15] as const),
        ...Array.from({ length: second }, (_, i) => [first + i, [9, 0][i >> 4]!, i & 15] as const),
      ];
      for (const [t, block, key] of slots) {
        for (let head = 0; head < kvHeads; head++) {
          for (let i = 0; i < d; i++) {
            expected.k[kIndex(cache, block, head, key, i)] = bf16(at(expectedK, t, head * d + i));
            expected.v[vIndex(cache, block, head, key, i)] = bf16(at(v, t, head * d + i));
          }
        }
      }
      expect(Buffer.from(cache.k.buffer).equals(Buffer.from(expected.k.buffer))).toBe(true);
      expect(Buffer.from(cache.v.buffer).equals(Buffer.from(expected.v.buffer))).toBe(true);
    },
  );

  it("embed, gather_rows and read_rows copy rows and refuse numbers out of range", () => {
    const table = randomBits(random(3), 9, 70);
    for (const verb of ["embed", "gatherRows", "readRows"] as const) {
      const y = poisonedBits(7, 70);
      const rows = [8, 0, 3, 3, 4, 5, 1];
      ops[verb](y, misaligned(table), Int32Array.from(rows));
      expect(bits(y)).toBe(bits(takeRows(table, rows)));
      for (const wrong of [9, -1])
        expect(() => ops[verb](y, table, Int32Array.of(1, 2, 3, 8, wrong, 0, 1))).toThrow(/out of range/);
    }
  });

  it("allocates zeroed memory, also more than there is", () => {
    expect([0, 1, 5_000_000].map((bytes) => ops.allocate(bytes))).toEqual([true, true, true]);
    expect(() => ops.allocate(2 ** 60)).toThrow(/Cannot reserve/);
  });
});

function emptyCache(numBlocks: number, kvHeads: number, headDim: number): Cache {
  const size = numBlocks * kvHeads * 16 * headDim;
  return {
    k: new Uint16Array(size).fill(POISON),
    v: new Uint16Array(size).fill(POISON),
    numBlocks,
    kvHeads,
    headDim,
  };
}

/** Round, norm with the tested verb, rotate in float32 as the rounding table says. */
function normRotate(
  ops: Ops,
  projected: ReturnType<typeof poisonedFloats>,
  weight: Uint16Array,
  rope: ReturnType<typeof poisonedFloats>,
  d: number,
): Bits {
  const heads = projected.cols / d;
  const flat: Bits = {
    data: new Uint16Array(projected.rows * projected.cols),
    rows: projected.rows * heads,
    cols: d,
  };
  for (let t = 0; t < projected.rows; t++) {
    for (let i = 0; i < projected.cols; i++) flat.data[t * projected.cols + i] = bf16(at(projected, t, i));
  }
  const normed: Bits = { ...flat, data: new Uint16Array(flat.data.length) };
  ops.rmsNorm(normed, flat, weight, 1e-6);
  const half = d / 2;
  const result: Bits = {
    data: new Uint16Array(flat.data.length),
    rows: projected.rows,
    cols: projected.cols,
  };
  const f = Math.fround;
  for (let h = 0; h < normed.rows; h++) {
    const t = Math.floor(h / heads);
    for (let i = 0; i < half; i++) {
      const [a, b] = [at(normed, h, i), at(normed, h, half + i)];
      const [cos, sin] = [at(rope, t, i), at(rope, t, half + i)];
      result.data[h * d + i] = bf16(f(f(a * cos) - f(b * sin)));
      result.data[h * d + half + i] = bf16(f(f(b * cos) + f(a * sin)));
    }
  }
  return result;
}
