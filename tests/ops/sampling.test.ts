/** sample and samplingDistribution: the rules, the three log probabilities, the draw, independence of batch and threads. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Floats,
  native,
  normal,
  type Ops,
  opsFor,
  paths,
  poisonedFloats,
  random,
  type SampleRow,
} from "./native.js";
import { U32 } from "./reference.js";
import { adjusted, draw, logSumExp, ranked, support } from "./sampling-reference.js";

const GOLDENS = new URL("../../../shared/goldens/sampling.jsonl", import.meta.url);

/** What log-sum-exp may be off by: the chain of a lane in a chunk of 4,096, the fold, 2 ulp of exp. */
const LSE_BOUND = (4096 / 16 + 4 + 4) * U32;

function logitsOf(values: ArrayLike<number>): Floats {
  return { data: Float32Array.from(values), rows: 1, cols: values.length };
}

function randomLogits(seed: number, vocabulary: number, rows = 1, scale = 3): Floats {
  const next = random(seed);
  const logits = poisonedFloats(rows, vocabulary);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < vocabulary; i++) logits.data[r * (vocabulary + 3) + i] = normal(next, scale);
  }
  return logits;
}

const copy = (logits: Floats): Floats => ({ ...logits, data: logits.data.slice() });

describe.each(paths)("%s", (path) => {
  const ops = opsFor(path);
  const one = (logits: Floats, row: SampleRow) => ops.sample(copy(logits), [row])[0]!;
  const distribution = (logits: Floats, row: SampleRow) =>
    native.onDevice
      ? distributionByScores(ops, logits, row)
      : native.samplingDistribution(path, logits.data.slice(0, logits.cols), row);

  it.skipIf(!existsSync(GOLDENS))(
    "transformers' distributions (skipped where the goldens are absent)",
    () => {
      const lines = readFileSync(GOLDENS, "utf8").trim().split("\n");
      expect(lines.length).toBeGreaterThan(100);
      // On a device a distribution is asked token by token: every twentieth, then.
      for (const line of lines.filter((_, i) => !native.onDevice || i % 20 === 0)) {
        const golden = JSON.parse(line);
        const counts = new Map<number, number>();
        for (const token of golden.history) counts.set(token, (counts.get(token) ?? 0) + 1);
        const history = [...counts].map(([token, count]) => [token, count, 0] as [number, number, number]);
        const row: SampleRow = { ...golden.options, history };
        const actual = distribution(logitsOf(golden.logits), row);
        const expected = new Map<number, number>(
          golden.support.map((token: number, i: number) => [token, golden.probabilities[i]]),
        );
        if (isBounded(row, golden.logits.length)) {
          const { keptTokenIds } = one(logitsOf(golden.logits), { ...row, keptTokenIds: true });
          const likely = golden.support.filter((_: number, i: number) => golden.probabilities[i] > 0);
          expect(keptTokenIds).toEqual(likely.sort((a: number, b: number) => a - b));
        }
        actual.forEach((probability, token) => {
          const wanted = expected.get(token) ?? 0;
          if (wanted < 1e-30 && probability < 1e-30) return;
          if (!(Math.abs(probability - wanted) <= 1e-5 * wanted)) {
            throw new Error(
              `token ${token}: ${probability}, not ${wanted}: ${JSON.stringify(golden.options)}`,
            );
          }
        });
      }
    },
  );

  describe("greedy", () => {
    it.each([1, 2, 15, 16, 17, 4095, 4096, 4097, 8192, 10000])("V=%i: ties to the lower id", (vocabulary) => {
      const next = random(vocabulary);
      for (let round = 0; round < 20; round++) {
        const values = new Float32Array(vocabulary).fill(-3);
        const places = Array.from({ length: 3 }, () => Math.floor(next() * vocabulary));
        for (const place of places) values[place] = 7;
        const result = one(logitsOf(values), { temperature: 0, topK: 20, topP: 0.5, seed: round });
        expect(result).toMatchObject({ token: Math.min(...places), finite: true });
      }
    });

    it("has log probability 0 under what it samples from; another token has none", () => {
      const logits = randomLogits(3, 100);
      const best = ranked(Array.from(logits.data.slice(0, 100)))[0]!;
      expect(one(logits, { logprobs: true })).toMatchObject({ token: best, samplingLogprob: 0 });
      const other = (best + 1) % 100;
      expect(one(logits, { logprobs: true, chosen: other })).toMatchObject({
        token: other,
        samplingLogprob: -Infinity,
      });
    });

    it("is what a temperature too small to divide by means", () => {
      const result = one(logitsOf([1, 3, 3, 2]), { temperature: 1e-44, logprobs: true });
      expect(result).toMatchObject({ token: 1, samplingLogprob: 0 });
    });
  });

  it.each([
    { temperature: 0 },
    { temperature: 0.7 },
    { temperature: 1, topK: 5 },
    { temperature: 1.3, topP: 0.6 },
    { temperature: 1, minP: 0.2 },
    { temperature: 0.9, topK: 40, topP: 0.9, minP: 0.05 },
    { temperature: 1.1, repetitionPenalty: 1.4, presencePenalty: 0.5, frequencyPenalty: 0.3 },
    {
      temperature: 0,
      repetitionPenalty: 0.7,
      bias: [
        [4, 2.5],
        [5000, -1],
      ] as [number, number][],
      banned: [17, 9],
    },
  ])("three log probabilities of %o", (options) => {
    const vocabulary = 5003;
    const logits = randomLogits(11, vocabulary);
    const raw = Array.from(logits.data.slice(0, vocabulary));
    const [first, second] = ranked(raw) as [number, number];
    const row: SampleRow = {
      ...options,
      logprobs: true,
      seed: 5,
      position: 8,
      history: [
        [first, 1, 2],
        [second, 1, 0],
        [4, 0, 1],
        [17, 0, 3],
      ],
    };
    const x = adjusted(logits.data.subarray(0, vocabulary), row);
    const kept = support(x, row);
    row.keptTokenIds = isBounded(row, vocabulary);
    const listed = options.temperature === 0 ? [kept[0]!] : [...kept].sort((a, b) => a - b);
    for (const chosen of [-1, first, second, kept[1]!, 4, 17, 5002]) {
      const result = one(logits, { ...row, chosen });
      const token = chosen >= 0 ? chosen : options.temperature === 0 ? kept[0]! : draw(x, kept, row);
      expect(result.token).toBe(token);
      expect(result.keptTokenIds).toEqual(row.keptTokenIds ? listed : []);
      expect(Math.abs(result.logprob - (raw[token]! - logSumExp(raw)))).toBeLessThanOrEqual(LSE_BOUND);
      near(result.temperatureLogprob, x[token]! - logSumExp(x));
      if (options.temperature === 0) expect(result.samplingLogprob).toBe(token === kept[0] ? 0 : -Infinity);
      else if (!kept.includes(token)) expect(result.samplingLogprob).toBe(-Infinity);
      else near(result.samplingLogprob, x[token]! - logSumExp(kept.map((i) => x[i]!)));
    }
  });

  it("lists raw log probabilities, ties to the lower id, of as many tokens as there are", () => {
    const logits = logitsOf([2, 5, 5, -1, 5]);
    const lse = logSumExp([2, 5, 5, -1, 5]);
    const result = one(logits, { topLogprobs: 9, tokenIds: [3, 0, 3], bias: [[3, 100]], banned: [1] });
    expect(result.token).toBe(3);
    expect(result.top.map((entry) => entry.token)).toEqual([1, 2, 4, 0, 3]);
    result.top.forEach(({ token, logprob }) => {
      near(logprob, logits.data[token]! - lse);
    });
    expect(result.tokenIdLogprobs).toHaveLength(3);
    near(result.tokenIdLogprobs[1]!, 2 - lse);
    const many = randomLogits(2, 9000);
    const top = one(many, { topLogprobs: 300 }).top.map((entry) => entry.token);
    expect(top).toEqual(ranked(Array.from(many.data.slice(0, 9000))).slice(0, 300));
  });

  it("keeps exactly k at ties, and a nucleus of thousands of equals (the border alone)", () => {
    const flat = logitsOf(new Float32Array(20_000).fill(0.25));
    const isKept = (chosen: number, row: SampleRow) =>
      one(flat, { temperature: 1, logprobs: true, chosen, ...row }).samplingLogprob > -Infinity;
    expect([0, 2, 3].map((token) => isKept(token, { topK: 3 }))).toEqual([true, true, false]);
    expect([9999, 10_000].map((token) => isKept(token, { topP: 0.5 }))).toEqual([true, false]);
    expect([0, 1].map((token) => isKept(token, { topP: 0 }))).toEqual([true, false]);
    expect(isKept(19_999, { minP: 1 })).toBe(true);
  });

  it("lists the kept tokens, thousands if need be, ties at the cut to the lower id", () => {
    const flat = logitsOf(new Float32Array(20_000).fill(0.25));
    const listed = (row: SampleRow, logits = flat) =>
      one(logits, { temperature: 1, keptTokenIds: true, ...row }).keptTokenIds;
    const first = (count: number) => [...Array(count).keys()];
    expect(listed({ topK: 3 })).toEqual(first(3));
    expect(listed({ topK: 3, banned: [0, 2], chosen: 9 })).toEqual([1, 3, 4]);
    expect(listed({ topP: 0.5 })).toEqual(first(10_000));
    expect(listed({ topP: 0 })).toEqual([0]);
    expect(listed({ minP: 1 })).toEqual(first(20_000));
    expect(listed({ temperature: 0, topK: 3, chosen: 9 })).toEqual([0]);
    expect(listed({ temperature: 1e-44, topK: 3 }, logitsOf([1, 3, 3, 2]))).toEqual([1]);
    expect(listed({ topK: 2, banned: [0, 1, 2] }, logitsOf([1, 2, 3]))).toEqual([]); // nothing is left
  });

  // On a device a distribution is asked token by token: too long for 20,000.
  it.skipIf(native.onDevice)("keeps exactly k at ties, and a nucleus of thousands of equals", () => {
    const flat = logitsOf(new Float32Array(20_000).fill(0.25));
    const kept = (row: SampleRow) =>
      [...distribution(flat, { temperature: 1, ...row }).entries()].filter(([, p]) => p > 0);
    expect(kept({ topK: 3 }).map(([token]) => token)).toEqual([0, 1, 2]);
    expect(kept({ topP: 0.5 }).map(([token]) => token)).toEqual([...Array(10_000).keys()]);
    expect(kept({ topP: 0 })).toEqual([[0, 1]]);
    expect(kept({ minP: 1 })).toHaveLength(20_000);
    expect(kept({ topK: 20_000, topP: 0.99999 }).length).toBeGreaterThan(19_990);
  });

  it("marks NaN and infinite logits, and rows with every token banned", () => {
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      for (const place of [0, 15, 4095, 4096, 4999]) {
        const logits = randomLogits(6, 5000);
        logits.data[place] = bad;
        expect(one(logits, { temperature: 1, topLogprobs: 3 })).toMatchObject({
          token: -1,
          finite: false,
          allBanned: false,
          top: [],
        });
      }
    }
    for (const temperature of [0, 1]) {
      const none = { token: -1, finite: true, allBanned: true, top: [] };
      const options = { banned: [0, 1], temperature, topLogprobs: 1 };
      expect(one(logitsOf([1, 2]), options)).toMatchObject(none);
      expect(one(logitsOf([1, Number.NaN]), options)).toMatchObject({ finite: false, allBanned: false });
      const some = { banned: [1], temperature, topK: 1 };
      expect(one(logitsOf([1, 2]), some)).toMatchObject({ token: 0, finite: true, allBanned: false });
    }
    expect([...distribution(logitsOf([1, Number.NaN]), {})]).toEqual([Number.NaN, Number.NaN]);
  });

  describe("the draw", () => {
    it.each([
      { name: "all tokens", vocabulary: 300, row: {} },
      { name: "top-k", vocabulary: 300, row: { topK: 7 } },
      { name: "a real vocabulary", vocabulary: 151_936, row: {} },
      { name: "a flat one", vocabulary: 20_000, row: { temperature: 1e6 } },
      { name: "a cold one", vocabulary: 5000, row: { temperature: 0.01 } },
    ])("is the exponential race: $name", ({ vocabulary, row }) => {
      const logits = randomLogits(21, vocabulary, 1, 1.5);
      for (let position = 0; position < (vocabulary > 1000 ? 3 : 200); position++) {
        const full: SampleRow = {
          temperature: 1,
          seed: 2 ** 53 - 1 - position,
          sampleIndex: 3,
          position,
          ...row,
        };
        const x = adjusted(logits.data.subarray(0, vocabulary), full);
        expect(one(logits, full).token).toBe(draw(x, support(x, full), full));
      }
    });

    it.each([{}, { topK: 6, topP: 0.95 }])(
      "has the distribution's frequencies: %o",
      { timeout: 300_000 },
      (filters) => {
        const vocabulary = 12;
        const draws = 20_000;
        const logits = randomLogits(31, vocabulary, 1, 1);
        const probabilities = distribution(logits, { temperature: 0.9, ...filters });
        const rows = Array.from(
          { length: draws },
          (_, position): SampleRow => ({ temperature: 0.9, seed: 7, position, ...filters }),
        );
        const many = { data: new Float32Array(draws * vocabulary), rows: draws, cols: vocabulary };
        for (let i = 0; i < draws; i++) many.data.set(logits.data.subarray(0, vocabulary), i * vocabulary);
        const counts = new Float64Array(vocabulary);
        for (const result of ops.sample(many, rows)) counts[result.token]!++;
        let chiSquare = 0;
        let cells = 0;
        probabilities.forEach((p, token) => {
          if (p === 0) expect(counts[token]).toBe(0);
          else chiSquare += (counts[token]! - draws * p) ** 2 / (draws * p);
          cells += p === 0 ? 0 : 1;
        });
        expect(chiSquare).toBeLessThan(chiSquareLimit(cells - 1));
        // Canary: the test would see one draw in twenty go to the next token.
        let shifted = 0;
        probabilities.forEach((p, token) => {
          const wrong = 0.95 * counts[token]! + 0.05 * counts[(token + 1) % vocabulary]!;
          if (p > 0) shifted += (wrong - draws * p) ** 2 / (draws * p);
        });
        expect(shifted).toBeGreaterThan(chiSquareLimit(cells - 1));
      },
    );

    it("is independent across positions, samples and seeds", () => {
      const logits = logitsOf(new Float32Array(1000));
      const drawn = (row: SampleRow) => one(logits, { temperature: 1, ...row }).token;
      const base = { seed: 123456789012345, sampleIndex: 4, position: 99 };
      expect(drawn(base)).toBe(drawn(base));
      const others = [
        { seed: 123456789012346 },
        { seed: 123456789012345 - 2 ** 40 },
        { sampleIndex: 5 },
        { position: 100 },
      ].map((change) => drawn({ ...base, ...change }));
      expect(new Set([drawn(base), ...others]).size).toBe(5);
    });
  });

  it("gives a row the same bits alone, in a batch and on any number of threads", () => {
    const vocabulary = 9001;
    const options: SampleRow[] = [
      { temperature: 1, logprobs: true },
      { temperature: 0, logprobs: true, topLogprobs: 5, keptTokenIds: true },
      { temperature: 0.8, topP: 0.9, logprobs: true, keptTokenIds: true },
      { temperature: 1, topK: 50, minP: 0.01, logprobs: true, keptTokenIds: true },
      { temperature: 2, minP: 0.1, logprobs: true },
      { temperature: 1, history: [[5, 1, 1]], repetitionPenalty: 1.2, logprobs: true, tokenIds: [5, 6] },
      { temperature: 1, chosen: 77, logprobs: true },
    ];
    const rows = options.map((row, i) => ({ ...row, seed: 1000 + i, position: i }));
    const logits = randomLogits(41, vocabulary, rows.length);
    const together = opsFor(path, 1).sample(copy(logits), rows);
    for (const threads of [1, 2, 4, 16]) {
      expect(opsFor(path, threads).sample(copy(logits), rows)).toEqual(together);
      rows.forEach((row, i) => {
        const data = logits.data.slice(i * (vocabulary + 3), i * (vocabulary + 3) + vocabulary);
        expect(opsFor(path, threads).sample({ data, rows: 1, cols: vocabulary }, [row])).toEqual([
          together[i],
        ]);
      });
    }
  });

  it("refuses token ids out of range and options that are no numbers", () => {
    const logits = logitsOf([1, 2, 3]);
    const bad: SampleRow[] = [
      { chosen: 3 },
      { banned: [-1] },
      { tokenIds: [3] },
      { bias: [[1, Number.NaN]] },
      { bias: [[9, 1]] },
      { history: [[3, 1, 0]] },
      { temperature: Number.NaN },
      { temperature: -1 },
      { topP: Number.NaN },
      { minP: 2 },
      { repetitionPenalty: 0 },
      { presencePenalty: Infinity },
      { keptTokenIds: true, temperature: 1, topK: 3 }, // no filter is on
    ];
    for (const row of bad) expect(() => one(logits, row)).toThrow(/sample: /);
  });
});

/** The distribution from the log probability of each token when it is the chosen one. */
function distributionByScores(ops: Ops, logits: Floats, row: SampleRow): Float64Array {
  const vocabulary = logits.cols;
  const all = { data: new Float32Array(vocabulary * vocabulary), rows: vocabulary, cols: vocabulary };
  for (let i = 0; i < vocabulary; i++) all.data.set(logits.data.subarray(0, vocabulary), i * vocabulary);
  const rows = Array.from({ length: vocabulary }, (_, chosen) => ({ ...row, chosen, logprobs: true }));
  return Float64Array.from(ops.sample(all, rows), (result) =>
    result.finite ? Math.exp(result.samplingLogprob) : Number.NaN,
  );
}

/** Whether a greedy row or a filter leaves a list of kept tokens. */
const isBounded = ({ temperature = 0, topK = 0, topP = 1, minP = 0 }: SampleRow, vocabulary: number) =>
  temperature === 0 || (topK > 0 && topK < vocabulary) || topP < 1 || minP > 0;

function near(actual: number, expected: number): void {
  if (expected === -Infinity) expect(actual).toBe(-Infinity);
  else expect(Math.abs(actual - expected)).toBeLessThanOrEqual(LSE_BOUND);
}

/** The 99.99 % quantile (Wilson and Hilferty). */
function chiSquareLimit(freedom: number): number {
  const a = 2 / (9 * freedom);
  return freedom * (1 - a + 3.719 * Math.sqrt(a)) ** 3;
}
