/**
 * The lockstep contract, verb by verb: a row's bits do not depend on the rows beside it, on how tokens are cut into steps,
 * or on the threads. Each helper is shown to fail on a planted violation.
 */
import { describe, expect, it } from "vitest";
import { type FilledCache, fillCache } from "./kv-cache.js";
import {
  type Bits,
  bits,
  type Cache,
  type Floats,
  type Matrix,
  type Ops,
  opsFor,
  paths,
  poisonedBits,
  poisonedFloats,
  random,
  randomBits,
  type SequenceSlice,
  set,
  takeRows,
} from "./native.js";

/** Fails unless `compute` gives each row the same bits in every batch as alone; `large`: more sizes of batches. */
function expectRowsIndependent(x: Bits, compute: (x: Bits) => Bits | Floats, large: number[] = []): void {
  const alone = Array.from({ length: x.rows }, (_, row) => bits(compute(takeRows(x, [row]))));
  const next = random(x.rows);
  const batches = [2, 3, 4, 5, 7, 16, 17, 31, x.rows].filter((size) => size <= x.rows);
  for (const size of [...batches, ...large]) {
    const rows = Array.from({ length: size }, () => Math.floor(next() * x.rows));
    const together = compute(takeRows(x, rows));
    rows.forEach((row, i) => {
      if (bits(together, [i]) !== alone[row])
        throw new Error(`row ${row} has other bits in a batch of ${size}`);
    });
  }
}

/** Fails unless the result has the same bits with 1, 2 and 4 threads. */
function expectThreadsIndependent(path: string, compute: (ops: Ops) => Bits | Floats): void {
  const one = bits(compute(opsFor(path, 1)));
  for (const threads of [2, 4]) {
    if (bits(compute(opsFor(path, threads))) !== one) throw new Error(`other bits with ${threads} threads`);
  }
}

/** One of each of the tiles that a GPU has for prompts. */
const kManyTokens = [50, 70, 270];

function linear(ops: Ops, x: Matrix, w: Bits, parts: number): Floats {
  const y = poisonedFloats(x.rows, w.rows);
  ops.linear(y, x, w, parts);
  return y;
}

describe.each(paths)("%s", (path) => {
  const ops = opsFor(path);

  describe.each([
    { k: 40, n: 67, parts: 1 },
    { k: 1025, n: 9, parts: 1 },
    { k: 2600, n: 130, parts: 2 },
    { k: 3072, n: 50, parts: 2 },
    { k: 70, n: 520, parts: 2 },
  ])("linear K=$k N=$n", ({ k, n, parts }) => {
    const next = random(k);
    const x = randomBits(next, 40, k);
    const w = randomBits(next, n, k);

    it("rows alone and in batches", () => {
      expectRowsIndependent(x, (rows) => linear(ops, rows, w, parts), kManyTokens);
    });
    it("threads", () => {
      expectThreadsIndependent(path, (some) => linear(some, x, w, parts));
      expectThreadsIndependent(path, (some) => linear(some, takeRows(x, [3]), w, parts));
    });
    it("outputs alone and together", () => {
      const together = linear(ops, x, w, parts);
      for (let output = 0; output < n; output += 7) {
        const alone = linear(ops, x, takeRows(w, [output]), parts);
        for (let t = 0; t < x.rows; t++) expect(alone.data[t * 4]).toBe(together.data[t * (n + 3) + output]);
      }
    });
    if (k % 2 !== 0) return; // the canary needs two equal parts
    it("canary: a split of K that depends on T is found", () => {
      const broken = (rows: Bits) => linear(ops, rows, w, rows.rows > 1 ? 3 - parts : parts);
      expect(() => expectRowsIndependent(x, broken)).toThrow(/other bits/);
    });
  });

  it("gate_up", () => {
    const next = random(8);
    const x = randomBits(next, 40, 1100);
    const [gate, up] = [randomBits(next, 150, 1100, 0.1), randomBits(next, 150, 1100, 0.1)];
    const compute = (some: Ops, rows: Matrix) => {
      const y = poisonedBits(rows.rows, 150);
      some.gateUp(y, rows, gate, up);
      return y;
    };
    expectRowsIndependent(x, (rows) => compute(ops, rows), kManyTokens);
    expectThreadsIndependent(path, (some) => compute(some, x));
  });

  it("norms", () => {
    const next = random(9);
    const x = randomBits(next, 600, 300);
    const weight = randomBits(next, 1, 300, 1, 0).data;
    const compute = (some: Ops, rows: Matrix) => {
      const y = poisonedBits(rows.rows, 300);
      some.rmsNorm(y, rows, weight, 1e-6);
      return y;
    };
    expectRowsIndependent(takeRows(x, [...Array(40).keys()]), (rows) => compute(ops, rows));
    expectThreadsIndependent(path, (some) => compute(some, x));
  });

  it("project_qkv", () => {
    const next = random(10);
    const [d, heads, kvHeads, tokens] = [64, 4, 2, 40];
    const x = randomBits(next, tokens, 500);
    const [wq, wk, wv] = [heads, kvHeads, kvHeads].map((h) => randomBits(next, h * d, 500, 0.1)) as [
      Bits,
      Bits,
      Bits,
    ];
    const norm = randomBits(next, 1, d, 1, 0).data;
    const rope = poisonedFloats(tokens, d);
    for (let t = 0; t < tokens; t++) for (let i = 0; i < d; i++) set(rope, t, i, next());
    // The tokens in steps of `size`; q and the cache must come out the same.
    const run = (some: Ops, size: number) => {
      const q = poisonedBits(tokens, heads * d, 0);
      const elements = 3 * kvHeads * 16 * d;
      const cache = {
        k: new Uint16Array(elements),
        v: new Uint16Array(elements),
        numBlocks: 3,
        kvHeads,
        headDim: d,
      };
      for (let from = 0; from < tokens; from += size) {
        const rows = Array.from({ length: Math.min(size, tokens - from) }, (_, i) => from + i);
        const part = poisonedBits(rows.length, heads * d);
        some.projectQkv({
          q: part,
          cache,
          x: takeRows(x, rows),
          wq,
          wk,
          wv,
          qNorm: norm,
          kNorm: norm,
          eps: 1e-6,
          rope: takeRows(rope, rows),
          scratch: poisonedBits(rows.length, 2 * kvHeads * d),
          sequences: [
            { firstRow: 0, numTokens: rows.length, startPosition: from, blocks: Int32Array.of(2, 0, 1) },
          ],
        });
        q.data.set(takeRows(part, [...rows.keys()]).data, from * heads * d);
      }
      return {
        data: Uint16Array.from([...q.data, ...cache.k, ...cache.v]),
        rows: 1,
        cols: q.data.length + 2 * elements,
      };
    };
    const whole = bits(run(ops, tokens));
    for (const size of [1, 3, 16, 17]) expect(bits(run(ops, size)) === whole).toBe(true);
    expectThreadsIndependent(path, (some) => run(some, tokens));
  });

  describe.each([
    { d: 32, heads: 4, kvHeads: 4 },
    { d: 80, heads: 6, kvHeads: 2 },
    { d: 128, heads: 16, kvHeads: 2 },
  ])("attention d=$d Hq=$heads Hkv=$kvHeads", ({ d, heads, kvHeads }) => {
    const next = random(d);
    const [context, tokens] = [290, 45];
    const k = randomBits(next, context, kvHeads * d);
    const v = randomBits(next, context, kvHeads * d);
    const q = randomBits(next, tokens, heads * d);
    const filled = fillCache(k, v, [context], kvHeads, d);
    const chunks = (some: Ops, size: number) => attendInChunks(some, filled, q, context, size);
    const whole = bits(attendInChunks(ops, filled, q, context, tokens));

    it.each([1, 2, 3, 5, 16, 44])("chunks of %i", (size) => {
      expect(bits(chunks(ops, size)) === whole).toBe(true);
    });
    it("threads", () => {
      expectThreadsIndependent(path, (some) => attendInChunks(some, filled, q, context, tokens));
    });
    it("beside other sequences", () => {
      const y = poisonedBits(2 * tokens, heads * d);
      const slice = { numTokens: tokens, startPosition: context - tokens, blocks: filled.blocks[0]! };
      const doubled = takeRows(q, [...Array(tokens).keys(), ...Array(tokens).keys()]);
      ops.attention(y, doubled, filled.cache, [
        { ...slice, firstRow: tokens },
        { ...slice, firstRow: 0 },
      ]);
      expect(bits(y)).toBe(`${whole}|${whole}`);
    });
    it("canary: a mask that is off by one for single tokens is found", () => {
      const broken = (y: Matrix, rows: Matrix, cache: Cache, sequences: SequenceSlice[]) =>
        ops.attention(
          y,
          rows,
          cache,
          sequences.map((s) => ({ ...s, startPosition: s.startPosition - 1 })),
        );
      expect(bits(chunks({ ...ops, attention: broken }, 1)) === whole).toBe(false);
    });
  });
});

/** The queries of the last rows of a context, `size` of them in each call. */
function attendInChunks(ops: Ops, filled: FilledCache, q: Bits, context: number, size: number): Bits {
  const y = poisonedBits(q.rows, q.cols, 0);
  for (let from = 0; from < q.rows; from += size) {
    const rows = Array.from({ length: Math.min(size, q.rows - from) }, (_, i) => from + i);
    const part = poisonedBits(rows.length, q.cols);
    const startPosition = context - q.rows + from;
    const sequence = { firstRow: 0, numTokens: rows.length, startPosition, blocks: filled.blocks[0]! };
    ops.attention(part, takeRows(q, rows), filled.cache, [sequence]);
    y.data.set(takeRows(part, [...rows.keys()]).data, from * q.cols);
  }
  return y;
}
