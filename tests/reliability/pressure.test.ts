/** The contract under pressure, on the demo checkpoint and on every golden model. */
import { readFileSync } from "node:fs";
import { doctor, Engine } from "lockstep";
import { describe, expect, it } from "vitest";
import { goldenDirectory, kCausalModels } from "../model/goldens.js";
import { describeIfShared } from "../support/shared.js";
import { type MixtureReport, pressureCases, randomMixtures, runAlone, runMixture } from "./pressure-suite.js";
import { kDemoModel, kDemoVocab } from "./support.js";

async function check(
  model: string,
  vocab: number,
  count: number,
  mixtures: number,
  ranks: number,
): Promise<void> {
  const cases = pressureCases(count, vocab, 5);
  const expected = await runAlone(Engine, model, cases);
  const reports: MixtureReport[] = [];
  for (const mixture of randomMixtures(mixtures, cases, ranks, 17)) {
    const report = await runMixture(Engine, model, cases, expected, mixture);
    expect(report.mismatches, mixture.name).toEqual([]);
    expect(report.comparisons).toBe(2 * count);
    expect(report.cachedTokens > 0, mixture.name).toBe(mixture.load.prefixCache);
    reports.push(report);
  }
  const sum = (
    field: "preemptions" | "evictions" | "partialHits" | "cachedTokens" | "aborts" | "comparisons",
  ) => reports.reduce((total, report) => total + report[field], 0);
  console.log(
    `${model.split("/").at(-1)}: ${sum("comparisons")} comparisons, ${sum("preemptions")} preemptions, ` +
      `${sum("evictions")} evictions, ${sum("partialHits")} partial hits, ` +
      `${sum("cachedTokens")} cached tokens, ${sum("aborts")} aborts`,
  );
  // What did not happen proves nothing.
  expect(sum("preemptions")).toBeGreaterThan(0);
  expect(sum("evictions")).toBeGreaterThan(0);
  expect(sum("partialHits")).toBeGreaterThan(0);
  expect(sum("cachedTokens")).toBeGreaterThan(count * 16);
  expect(sum("aborts")).toBeGreaterThan(0);
  expect(Math.max(...reports.map(({ maxBatch }) => maxBatch))).toBeGreaterThan(8);
}

describe("the contract under pressure", { timeout: 300_000 }, () => {
  it("holds on the demo checkpoint", () => check(kDemoModel, kDemoVocab, 60, 8, 2));

  it.each(doctor().computePaths.slice(1))("holds on the demo checkpoint, on %s", async (path) => {
    process.env.LOCKSTEP_COMPUTE_PATH = path;
    try {
      await check(kDemoModel, kDemoVocab, 20, 2, 2);
    } finally {
      delete process.env.LOCKSTEP_COMPUTE_PATH;
    }
  });
});

describeIfShared("the contract under pressure, on golden models", () => {
  it.each(kCausalModels)("%s", { timeout: 300_000 }, async (model) => {
    const config = JSON.parse(readFileSync(`${goldenDirectory(model)}/config.json`, "utf8"));
    const sizes = [config.num_attention_heads, config.num_key_value_heads, config.intermediate_size];
    await check(
      goldenDirectory(model),
      config.vocab_size,
      36,
      4,
      sizes.every((size) => size % 2 === 0) ? 2 : 1,
    );
  });
});
