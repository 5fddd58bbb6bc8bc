/** The filters against transformers' logits processors: ../shared/goldens/sampling.jsonl. */
import { type SamplingOptions, samplingDistribution } from "lockstep";
import { expect, it } from "vitest";
import { describeIfShared, sharedRows } from "../support/shared.js";

interface Row {
  logits: number[];
  history: number[];
  options: SamplingOptions;
  support: number[];
  probabilities: number[];
}

/** Smaller probabilities are ignored, also in the support (the goldens' README). */
const kNothing = 1e-30;

describeIfShared("samplingDistribution", () => {
  const rows = sharedRows<Row>("goldens", "sampling.jsonl");

  it("agrees with transformers on every golden row", () => {
    expect(rows.length).toBeGreaterThanOrEqual(300);
    let largest = 0;
    const used = new Set<string>();
    rows.forEach(({ logits, history, options, support, probabilities }, row) => {
      const actual = samplingDistribution(logits, options, history);
      const expected = new Map(support.map((id, i) => [id, probabilities[i]!]));
      for (const [id, probability] of actual.entries()) {
        const golden = expected.get(id) ?? 0;
        if (golden < kNothing && probability < kNothing) continue;
        const distance = Math.abs(probability - golden) / golden;
        if (!(distance <= 1e-5))
          throw new Error(`row ${row}, token ${id}: ${probability} instead of ${golden}`);
        largest = Math.max(largest, distance);
      }
      for (const key of Object.keys(options)) used.add(key);
    });
    console.log(
      `sampling goldens: ${rows.length} rows, at most ${largest.toExponential(2)} apart; ${[...used].join(", ")}`,
    );
    expect(largest).toBeGreaterThan(0); // not compared with itself
    for (const key of ["temperature", "topK", "topP", "minP", "repetitionPenalty"])
      expect(used).toContain(key);
  });

  it("takes typed arrays and histories in two parts for the same thing", () => {
    for (const { logits, history, options } of rows.slice(0, 40)) {
      const expected = samplingDistribution(logits, options, history);
      const prompt = history.slice(0, 2);
      const output = Uint16Array.from(history.slice(2));
      expect(samplingDistribution(Float64Array.from(logits), options, { prompt, output })).toEqual(expected);
    }
  });
});
