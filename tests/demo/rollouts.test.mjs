/** Rejection sampling and best of n from outside: a curve that rises, data that can be read, and a scorer that agrees. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, it } from "vitest";

const EXAMPLE = fileURLToPath(new URL("../../examples/demo/rollouts.mjs", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "lockstep-rollouts-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it("draws 1,000 samples whose score is what was reported, and keeps those that succeeded", {
  timeout: 300_000,
}, async () => {
  const file = join(directory, "kept.jsonl");
  const env = { ...process.env, TASKS: "68" };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [EXAMPLE, file], { env });
  expect(stderr).toBe("");
  const values = Object.fromEntries(
    stdout
      .trimEnd()
      .split("\n")
      .map((row) => row.split(" "))
      .map(([name, value]) => [name, Number(value)]),
  );
  expect(values.scored_samples).toBeGreaterThanOrEqual(1000);
  expect(values.scored_tokens).toBeGreaterThan(30 * values.scored_samples);
  expect(values.scored_differently).toBe(0);

  expect(values.rejection_aborted).toBeGreaterThan(0);
  const kept = readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(kept).toHaveLength(values.rejection_kept);
  for (const sample of kept) expect(sample).toMatchObject({ status: "completed", reward: 1 });

  expect(values.test_samples).toBe(68 * 8);
  expect(values["test_pass@1"]).toBeGreaterThan(0.4);
  for (const [fewer, more] of [
    [1, 2],
    [2, 4],
    [4, 8],
  ])
    expect(values[`test_pass@${more}`]).toBeGreaterThan(values[`test_pass@${fewer}`]);
});
