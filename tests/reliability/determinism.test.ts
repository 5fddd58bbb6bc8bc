/** RELIABILITY R18: 200 prompts, whatever the batch size, cache, pool and ranks, in and after an abort storm: the same bits. */
import { Engine, type LoadOptions } from "lockstep";
import { beforeAll, describe, expect, it } from "vitest";
import { poolFor } from "./pool.js";
import { type Case, type Mixture, pressureCases, runAlone, runMixture } from "./pressure-suite.js";
import { kDemoModel, kDemoVocab } from "./support.js";

const cases: Case[] = pressureCases(250, kDemoVocab, 3, { longestPrompt: 64, longestOutput: 24 })
  .filter(({ score }) => !score)
  .map(({ n: _, ...one }) => one);

const tight = { kvCacheTokens: poolFor(cases, 4) };

/** Most sequences in one step, at least, with each. */
const kWays: [name: string, maxBatch: number, load: LoadOptions][] = [
  ["batches of 1", 1, { maxSequences: 1 }],
  ["batches of 8, no cache", 8, { maxSequences: 8, prefixCache: false }],
  ["batches of 8, two ranks", 8, { maxSequences: 8, tensorParallel: 2 }],
  ["batches of 64", 40, { maxSequences: 64, maxBatchTokens: 4096 }],
  ["batches of 64, no cache, two ranks", 40, { maxSequences: 64, prefixCache: false, tensorParallel: 2 }],
  ["a tight pool", 3, { maxSequences: 64, ...tight }],
  ["a tight pool, no cache, two ranks", 3, { ...tight, prefixCache: false, tensorParallel: 2 }],
  ["among aborted strangers", 8, { maxSequences: 32, maxBatchTokens: 40 }],
  ["after an abort storm", 8, { maxSequences: 32, maxBatchTokens: 40 }],
  ["after an abort storm, a tight pool", 3, { maxSequences: 64, ...tight }],
];

describe("200 prompts give the same tokens and logprobs", { timeout: 180_000 }, () => {
  let expected: unknown[];
  beforeAll(async () => {
    expect(cases.length).toBeGreaterThanOrEqual(200);
    expected = await runAlone(Engine, kDemoModel, cases);
  }, 180_000);

  it.each(kWays)("%s", async (name, maxBatch, load) => {
    const strangers: Mixture["strangers"] = name.startsWith("among")
      ? "among"
      : name.startsWith("after")
        ? "before"
        : "none";
    const mixture = { name, load: { threads: 2, ...load }, rounds: 1, salts: 1, strangers };
    const report = await runMixture(Engine, kDemoModel, cases, expected, mixture);
    expect(report.mismatches).toEqual([]);
    expect(report.comparisons).toBe(cases.length);
    expect(report.maxBatch).toBeGreaterThanOrEqual(maxBatch);
    expect(report.preemptions > 0).toBe(name.includes("a tight pool"));
    expect(report.cachedTokens > 0).toBe(load.prefixCache !== false);
    expect(report.aborts > 0).toBe(strangers !== "none");
    if (strangers === "before") {
      expect(report.abortsBefore).toBeGreaterThan(cases.length);
      expect(report.aborts).toBe(report.abortsBefore);
    }
  });
});
