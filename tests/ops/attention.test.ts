/** Attention over the paged cache against float64, on every compute path; beyond the context lie NaN and infinities. */
import { describe, expect, it } from "vitest";
import { fillCache, slices } from "./kv-cache.js";
import { bits, gapsIntact, opsFor, paths, poisonedBits, random, randomBits, takeRows } from "./native.js";
import { attention, row, worst } from "./reference.js";

interface Case {
  d: number;
  heads: number;
  kvHeads: number;
  contexts: number[]; // keys of each sequence, this step's included
  tokens: number[]; // this step's queries of each sequence
}

function setUp({ d, heads, kvHeads, contexts, tokens }: Case) {
  const next = random(d * 100 + heads);
  const keys = contexts.reduce((sum, n) => sum + n, 0);
  const queries = tokens.reduce((sum, n) => sum + n, 0);
  const k = randomBits(next, keys, kvHeads * d);
  const v = randomBits(next, keys, kvHeads * d);
  const q = randomBits(next, queries, heads * d, 1.5);
  const filled = fillCache(k, v, contexts, kvHeads, d);
  return { k, v, q, filled, sequences: slices(filled, contexts, tokens) };
}

function check(path: string, c: Case) {
  const { k, v, q, filled, sequences } = setUp(c);
  const y = poisonedBits(q.rows, q.cols);
  opsFor(path).attention(y, q, filled.cache, sequences);
  let firstKey = 0;
  sequences.forEach((s, index) => {
    const last = s.numTokens - 1;
    for (const t of new Set([0, 1, last >> 1, last - 1, last].filter((t) => t >= 0 && t <= last))) {
      const seen = s.startPosition + t + 1;
      for (let head = 0; head < c.heads; head++) {
        const kvHead = Math.floor(head / (c.heads / c.kvHeads));
        const part = (m: typeof k, r: number, h: number) => row(m, r).slice(h * c.d, (h + 1) * c.d);
        const rows = Array.from({ length: seen }, (_, key) => firstKey + key);
        const expected = attention(
          part(q, s.firstRow + t, head),
          rows.map((r) => part(k, r, kvHead)),
          rows.map((r) => part(v, r, kvHead)),
        );
        expect(worst(part(y, s.firstRow + t, head), expected)).toBeLessThanOrEqual(1);
      }
    }
    firstKey += c.contexts[index]!;
  });
  expect(gapsIntact(y)).toBe(true);
}

describe.each(paths)("%s", (path) => {
  it.each([2, 16, 32, 64, 80, 128, 200, 512])("d=%i", (d) => {
    check(path, { d, heads: 2, kvHeads: 1, contexts: [35, 1], tokens: [5, 1] });
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 17, 32])("%i query heads a key-value head", (group) => {
    check(path, { d: 16, heads: 2 * group, kvHeads: 2, contexts: [23, 16, 300], tokens: [7, 16, 1] });
  });

  it.each([1, 15, 16, 17, 255, 256, 257, 511, 513, 800])("one token at context %i", (context) => {
    check(path, { d: 32, heads: 4, kvHeads: 2, contexts: [context], tokens: [1] });
  });

  it.each([
    { contexts: [17], tokens: [17] },
    { contexts: [270], tokens: [270] },
    { contexts: [600], tokens: [90] },
    { contexts: [1, 300, 40, 7], tokens: [1, 2, 40, 0] },
  ])("prefill $tokens of $contexts", ({ contexts, tokens }) => {
    check(path, { d: 48, heads: 3, kvHeads: 1, contexts, tokens });
  });

  it("ignores what lies beyond a query's own position", () => {
    // The same queries with the later tokens' K and V replaced by NaN and infinities: the early rows keep their bits.
    const c = { d: 32, heads: 4, kvHeads: 2, contexts: [290], tokens: [40] };
    const { k, v, q, filled, sequences } = setUp(c);
    const y = poisonedBits(q.rows, q.cols);
    opsFor(path).attention(y, q, filled.cache, sequences);
    for (const seen of [251, 256, 262, 277]) {
      const cut = fillCache(takeRows(k, [...Array(290).keys()]), v, [seen], 2, 32);
      const blocks = Int32Array.from({ length: 19 }, (_, i) => cut.blocks[0]![i] ?? cut.cache.numBlocks - 1);
      const other = poisonedBits(q.rows, q.cols);
      opsFor(path).attention(other, q, cut.cache, [{ ...sequences[0]!, blocks }]);
      const early = Array.from({ length: seen - 250 }, (_, i) => i);
      expect(bits(other, early)).toBe(bits(y, early));
    }
  });

  it("weighs equal scores equally, exactly", () => {
    const d = 16;
    const k = randomBits(random(1), 300, d, 0);
    const v = randomBits(random(1), 300, d, 0);
    v.data.fill(0x3f80); // 1
    const q = randomBits(random(2), 1, d);
    const filled = fillCache(k, v, [300], 1, d);
    const y = poisonedBits(1, d);
    opsFor(path).attention(y, q, filled.cache, slices(filled, [300], [1]));
    expect(row(y, 0)).toEqual(Array(d).fill(1));
  });

  it("refuses shapes that do not fit", () => {
    const { q, filled, sequences } = setUp({ d: 16, heads: 4, kvHeads: 2, contexts: [5], tokens: [5] });
    const y = poisonedBits(5, 64);
    expect(() => opsFor(path).attention(y, { ...q, cols: 48 }, filled.cache, sequences)).toThrow(/attention/);
    expect(() => opsFor(path).attention(y, q, filled.cache, [{ ...sequences[0]!, numTokens: 6 }])).toThrow(
      /\[0, T\)/,
    );
  });
});
