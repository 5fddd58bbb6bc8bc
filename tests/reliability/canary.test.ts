/**
 * The tests under pressure are a gate only if they can fail: one fault for each mechanism, planted in the testing addon
 * (native/testing/fault_ops.h), must be noticed where the mechanism is at work, and nowhere else.
 */
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { poolFor } from "./pool.js";
import type { Case, Mixture, MixtureReport } from "./pressure-suite.js";

process.env.LOCKSTEP_ADDON = fileURLToPath(
  new URL("../../build/Release/lockstep-testing.node", import.meta.url),
);

interface Canary {
  cases: Case[];
  /** Runs the cases in a mixture of everything and tells what differs from each alone. */
  run(load: Mixture["load"]): Promise<MixtureReport>;
}

let plant: (fault: string, longestPrompt: number, longestOutput: number) => Promise<Canary>;

beforeAll(async () => {
  // Only now: the addon is chosen when the package is first imported.
  const { doctor, Engine } = await import("lockstep");
  const { pressureCases, runAlone, runMixture } = await import("./pressure-suite.js");
  const { kDemoModel, kDemoVocab, withEngine } = await import("./support.js");
  expect(doctor().addon).toBe(process.env.LOCKSTEP_ADDON);
  plant = async (fault, longestPrompt, longestOutput) => {
    process.env.LOCKSTEP_COMPUTE_PATH = `canary:${fault}`;
    const path = await withEngine(kDemoModel, {}, async (engine) => engine.computePath);
    expect(path).toBe(`canary:${fault}`);
    const cases = pressureCases(40, kDemoVocab, 9, { longestPrompt, longestOutput }).filter(
      ({ score }) => !score,
    );
    const expected = await runAlone(Engine, kDemoModel, cases);
    const mixture = { name: fault, rounds: 2, salts: 1, strangers: "none" as const };
    return {
      cases,
      run: (load) => runMixture(Engine, kDemoModel, cases, expected, { ...mixture, load }),
    };
  };
});
afterEach(() => {
  delete process.env.LOCKSTEP_COMPUTE_PATH;
});

const tell = (fault: string, { mismatches, comparisons, preemptions, cachedTokens }: MixtureReport) =>
  console.log(
    `${fault}: ${mismatches.length} mismatches in ${comparisons} comparisons, ` +
      `${preemptions} preemptions, ${cachedTokens} cached tokens`,
  );

describe("the contract under pressure notices", { timeout: 120_000 }, () => {
  it("a cache that returns a wrong block", async () => {
    const { run } = await plant("wrong-block", 150, 12);
    const wide = { kvCacheTokens: 65_536, maxBatchTokens: 8192, threads: 2 };
    const faulty = await run(wide);
    tell("wrong block", faulty);
    expect(faulty.cachedTokens).toBeGreaterThan(0);
    expect(faulty.mismatches.length).toBeGreaterThan(0);
    expect((await run({ ...wide, prefixCache: false })).mismatches).toEqual([]);
  });

  it("a recompute that drops a token", async () => {
    const { cases, run } = await plant("dropped-token", 40, 70);
    const load = { prefixCache: false, maxBatchTokens: 4096, threads: 2 };
    const faulty = await run({ ...load, kvCacheTokens: poolFor(cases, 3) });
    tell("dropped token", faulty);
    expect(faulty.preemptions).toBeGreaterThan(0);
    expect(faulty.mismatches.length).toBeGreaterThan(0);
    const wide = await run({ ...load, kvCacheTokens: 65_536 });
    expect(wide).toMatchObject({ mismatches: [], preemptions: 0 });
  });

  it("a rank that sums in another order", async () => {
    const { run } = await plant("rank-order", 100, 12);
    const faulty = await run({ threads: 2, tensorParallel: 2 });
    tell("rank order", faulty);
    expect(faulty.mismatches.length).toBeGreaterThan(0);
    expect((await run({ threads: 2 })).mismatches).toEqual([]);
  });
});
