/**
 * RELIABILITY R6: scheduler, block pool and prefix cache under random operations, those of pauses, weight updates and
 * sleep among them, every invariant checked after every step against a naive twin (native/testing/scheduler_check.cpp),
 * and the check itself against planted faults.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeIf } from "../support/shared.js";
import { buildMutants, hasCompiler, kMutants, notice } from "./scheduler-mutants.js";

interface Sums {
  violation: string;
  steps: number;
  /** Launched before the step before was collected. */
  ahead: number;
  requests: number;
  finished: number;
  aborted: number;
  preemptions: number;
  mostPreempted: number;
  hitBlocks: number;
  evictions: number;
  /** Steps of nothing, because all requests were new and held. */
  held: number;
  preemptedAtOnce: number;
  flushed: number;
  exactHits: number;
}

const { checkScheduler } = createRequire(import.meta.url)("../../build/Release/lockstep-testing.node") as {
  checkScheduler(firstSeed: number, seeds: number, steps: number): Sums;
};

const kSeeds = Number(process.env.LOCKSTEP_MODEL_CHECK_SEEDS ?? 1_500);
const kSteps = 200;

it("the scheduler's model check finds nothing", { timeout: 600_000 }, () => {
  const sums = checkScheduler(1, kSeeds, kSteps);
  console.log(`model check: ${JSON.stringify(sums)}`);
  expect(sums.violation).toBe("");
  expect(sums.steps).toBeGreaterThanOrEqual(kSeeds * kSteps);
  expect(sums.steps).toBeGreaterThanOrEqual(200_000);
  expect(sums.ahead).toBeGreaterThan(100_000);
  expect(sums.finished + sums.aborted).toBe(sums.requests);
  // A check of what never happens proves nothing.
  expect(sums.aborted).toBeGreaterThan(10_000);
  expect(sums.finished).toBeGreaterThan(10_000);
  expect(sums.preemptions - sums.preemptedAtOnce).toBeGreaterThan(1_000);
  expect(sums.mostPreempted).toBeGreaterThan(1);
  expect(sums.hitBlocks).toBeGreaterThan(5_000);
  expect(sums.exactHits).toBeGreaterThan(1_000);
  expect(sums.evictions).toBeGreaterThan(10_000);
  expect(sums.held).toBeGreaterThan(1_000);
  expect(sums.preemptedAtOnce).toBeGreaterThan(5_000);
  expect(sums.flushed).toBeGreaterThan(10_000);
});

describeIf(hasCompiler, "there is no g++", "the model check notices", () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-mutants-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeAll(async () => {
    await buildMutants(directory);
  }, 300_000);

  it("nothing in the sources as they are", async () => {
    expect(await notice(directory, 0, 100, kSteps)).toBe("");
  });

  it.each(kMutants.map(([name], i) => [name, i + 1] as const))("%s", async (_, mutant) => {
    expect(await notice(directory, mutant, 500, kSteps)).toMatch(/^(seed \d+: |dies by SIG)/);
  });
});
