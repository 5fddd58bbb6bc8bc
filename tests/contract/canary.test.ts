/**
 * The contract suite is a gate only if it can fail. native/testing/canary_ops.cpp plants a violation: sums over K whose
 * order depends on the number of rows. This file's process loads the testing addon, in which it can be switched on.
 */
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { Case, runContract } from "./suite.js";

process.env.LOCKSTEP_ADDON = fileURLToPath(
  new URL("../../build/Release/lockstep-testing.node", import.meta.url),
);

describe("a kernel whose K split depends on the batch", { timeout: 120_000 }, () => {
  let run: (computePath: string, count?: number) => ReturnType<typeof runContract>;
  let paths: string[];
  let cases: Case[];

  beforeAll(async () => {
    // Only now: the addon is chosen when the package is first imported.
    const { Engine, doctor } = await import("lockstep");
    const suite = await import("./suite.js");
    const { kDemoModel, chatCases, randomCases } = await import("./cases.js");
    cases = [...(await chatCases(9, 8)), ...randomCases(23, 704, 129, 8)];
    paths = doctor().computePaths;
    expect(doctor().addon).toBe(process.env.LOCKSTEP_ADDON);
    run = (computePath, count = cases.length) =>
      suite.runContract({ Engine, model: kDemoModel, computePath, cases: cases.slice(-count) });
  });

  it("is noticed in every way of computing that puts tokens together", async () => {
    const report = await run("canary:k-split");
    expect(report.computePath).toBe("canary:k-split");
    const ways = new Set(report.mismatches.map((line) => line.replace(/, case .*/, "")));
    console.log(
      `the canary gives ${report.mismatches.length} mismatches in ${report.comparisons} comparisons`,
    );
    for (const way of [
      "batch of 2",
      "batch of 7",
      "batch of 64",
      "chunks of 1",
      "chunks of 16",
      "tight pool",
    ])
      expect(ways, way).toContain(way);
    for (const verb of ["score", "embed"]) expect([...ways].some((way) => way.startsWith(verb))).toBe(true);
    // Threads alone break nothing here: what is found is the violation, not noise.
    expect(ways).not.toContain("alone, 2 threads");
  });

  it("is noticed on the portable path too", async () => {
    expect((await run(`canary:k-split/${paths.at(-1)}`, 10)).mismatches.length).toBeGreaterThan(0);
  });

  it("is what was noticed: the same process without it finds nothing", async () => {
    expect((await run(paths[0]!)).mismatches).toEqual([]);
  });
});
