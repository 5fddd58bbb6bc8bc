/** `npm run demo` from outside: it solves what transformers solved, with the tokens that transformers chose. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { doctor } from "lockstep";
import { expect, it, vi } from "vitest";

vi.setConfig({ testTimeout: 300_000 });

const DEMO = fileURLToPath(new URL("../../examples/demo/demo.mjs", import.meta.url));

async function table(computePath) {
  const env = { ...process.env, LOCKSTEP_COMPUTE_PATH: computePath };
  // Rejects where the exit code is not 0: the run failed, or a token differs where the golden gap forbids it.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [DEMO], { env });
  const rows = stdout.trimEnd().split("\n");
  for (const row of rows) expect(row).toMatch(/^\S+ \S+$/);
  return { rows, stderr, values: Object.fromEntries(rows.map((row) => row.split(" "))) };
}

it.each(doctor().computePaths)("solves 64 of the 100 tasks on %s", async (computePath) => {
  const { rows, stderr, values } = await table(computePath);
  expect(rows[0]).toBe("pass@1 0.64");
  expect(values.golden_steps_beyond_gap).toBe("0");

  // One line of stderr for each step that differs, and nothing else: no terminal codes where there is no terminal.
  const lines = stderr.split("\n").filter((line) => line !== "");
  expect(lines).toHaveLength(Number(values.golden_steps_differ));
  for (const line of lines) expect(line).toMatch(/^home-\d{3}, turn \d+, step \d+: .*: allowed$/);
  if (lines.length === 0) {
    expect(values.golden_tokens_agree).toBe("6338/6338");
    expect(values.golden_prompts_agree).toBe("287/287");
  }
  for (const name of ["tasks_per_second", "tokens_per_second", "steps", "mean_batch", "peak_memory_mib"])
    expect(Number(values[name])).toBeGreaterThan(0);
  // All prompts begin alike, and each turn's with the turn before it: most of a prompt is in the cache, never all.
  expect(Number(values.prefix_cache_hit_rate)).toBeGreaterThan(0.5);
  expect(Number(values.prefix_cache_hit_rate)).toBeLessThan(1);
});
