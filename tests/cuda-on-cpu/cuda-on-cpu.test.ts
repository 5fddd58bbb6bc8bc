/**
 * The CUDA kernels on the CPU: the host-execution layer's own test, then the conformance and contract suites of tests/ops
 * over the CUDA backend, with the threads of a block in several orders. Built by `node scripts/cuda-on-cpu.mjs`.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { describeIfPlayed, kBuild, kLibrary } from "./library.js";

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** "eager": cp.async lands at once instead of at its wait; "late": streams run when they are waited for. */
const kSchedules = ["forward", "reverse,late", "random:11", "random:12,eager"];
const kSuites = ["linear", "attention", "norm-rope"].map((name) => `tests/ops/${name}.test.ts`);
/** Longer ones, once each: rows, chunks and outputs alone and together, the sampling rules, whole models. */
const kLongSuites = [
  "tests/ops/contract.test.ts",
  "tests/ops/sampling.test.ts",
  "tests/model/goldens.test.ts",
];

describeIfPlayed("cuda-on-cpu", () => {
  it("finds what it claims to find", () => {
    const { stdout, status } = spawnSync(`${kBuild}/cuda-on-cpu-test`, { encoding: "utf8" });
    expect(stdout).toMatch(/^ok +finds a missing block barrier$/m);
    expect(stdout).not.toMatch(/^FAILED/m);
    expect(status).toBe(0);
  });

  it.each(kSchedules)("conformance, threads %s", { timeout: 300_000 }, (schedule) => {
    expect(passed(kSuites, schedule)).toBeGreaterThan(150);
  });

  it.each(kLongSuites)("%s", { timeout: 600_000 }, (suite) => {
    expect(passed([suite], "random:13")).toBeGreaterThan(20);
  });
});

/** Runs suites of this repository over the library; the number of tests that passed. Throws their output where one failed. */
function passed(suites: string[], schedule: string): number {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [at("node_modules/vitest/vitest.mjs"), "run", "--reporter=json", ...suites],
    {
      cwd: at("."),
      encoding: "utf8",
      maxBuffer: 2 ** 28,
      env: {
        ...process.env,
        LOCKSTEP_CUDA_LIBRARY: kLibrary,
        LOCKSTEP_TEST_DEVICE: "cuda:0",
        LOCKSTEP_CUDA_ON_CPU: schedule,
      },
    },
  );
  if (status !== 0) throw new Error(`${suites} with threads ${schedule}:\n${stdout.slice(-4000)}${stderr}`);
  return (JSON.parse(stdout.slice(stdout.indexOf("{"))) as { numPassedTests: number }).numPassedTests;
}
