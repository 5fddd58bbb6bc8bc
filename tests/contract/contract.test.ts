/** The contract on the demo checkpoint and on every golden model, on each compute path against itself. */
import { doctor, Engine } from "lockstep";
import { describe, expect, it } from "vitest";
import { goldenDirectory, kCausalModels } from "../model/goldens.js";
import { describeIfShared } from "../support/shared.js";
import { chatCases, kDemoModel, randomCases } from "./cases.js";
import { type Case, firstDifference, type Report, runContract } from "./suite.js";

const [bestPath, ...otherPaths] = doctor().computePaths as [string, ...string[]];

async function check(model: string, computePath: string, cases: Case[]): Promise<Report> {
  const start = performance.now();
  const report = await runContract({ Engine, model, computePath, cases });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const preemptions = report.preemptions["tight pool"];
  console.log(
    `${report.computePath}: ${cases.length} prompts, ${report.comparisons} comparisons, ` +
      `${preemptions} preemptions in the tight pool, ${seconds} s`,
  );
  expect(report.computePath).toBe(computePath);
  expect(report.mismatches).toEqual([]);
  expectProvoked(report, cases.length);
  return report;
}

/** A way that did not do what its name says proves nothing. */
function expectProvoked({ comparisons, maxBatch, cachedTokens, preemptions }: Report, count: number): void {
  // Ten ways, three chunks of score and two of embed, the tight pool.
  expect(comparisons).toBe(15 * count + Math.min(40, count));
  expect(maxBatch).toMatchObject({ alone: 1, "batch of 2": 2, "batch of 7": 7 });
  // A small set may have lost its first ones before the last has arrived.
  expect(maxBatch["batch of 64"]).toBeGreaterThanOrEqual(count > 100 ? 64 : count / 2);
  expect(maxBatch).toMatchObject({ "chunks of 1": 1, "chunks of 3": 3 });
  // These mix decodes with the chunks of prompts.
  for (const way of ["chunks of 16", "chunks of 64", "4 threads", "arriving one by one, among aborted ones"])
    expect(maxBatch[way], way).toBeGreaterThan(1);
  expect(preemptions["tight pool"]).toBeGreaterThan(0);
  expect(preemptions.alone).toBe(0);
  expect(cachedTokens.alone).toBe(0);
}

describe("the lockstep contract, bit for bit", { timeout: 300_000 }, () => {
  it("holds on the demo checkpoint", async () => {
    const cases = [...(await chatCases(120, 10)), ...randomCases(90, 704, 600, 10)];
    expect(cases.length).toBeGreaterThanOrEqual(200);
    const { cachedTokens } = await check(kDemoModel, bestPath, cases);
    expect(cachedTokens["alone, 2 threads, with the prefix cache"]).toBeGreaterThan(1000);
  });

  it.each(otherPaths)("holds on the demo checkpoint, on %s", async (path) => {
    await check(kDemoModel, path, [...(await chatCases(10, 6)), ...randomCases(22, 704, 300, 6)]);
  });

  it("is checked by a comparison that sees one bit", () => {
    const generation = { tokens: [1, 2], logprobs: [-0.1, -1.5] };
    expect(firstDifference(generation, structuredClone(generation))).toBeUndefined();
    expect(firstDifference(generation, { ...generation, logprobs: [-0.1, -1.5 - 2 ** -52] })).toMatch(
      /^logprobs\.1: /,
    );
    expect(firstDifference(generation, { ...generation, tokens: [1] })).toMatch(
      /^tokens\.1: 2 alone, nothing here/,
    );
    expect(firstDifference(0, -0)).toBeDefined();
    expect(firstDifference(Number.NaN, Number.NaN)).toBeUndefined();
    expect(firstDifference(generation, undefined)).toBeDefined();
  });
});

describeIfShared("the lockstep contract on the golden models", () => {
  it.each(kCausalModels)("holds on %s", { timeout: 300_000 }, async (model) => {
    const vocab = model === "mha-odd-sizes" ? 1009 : 523;
    await check(
      goldenDirectory(model),
      bestPath,
      randomCases(200, vocab, model === "yarn-x4" ? 240 : 300, 8),
    );
    for (const path of otherPaths) await check(goldenDirectory(model), path, randomCases(32, vocab, 65, 6));
  });
});
