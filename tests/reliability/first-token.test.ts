/**
 * Load to first token of a checkpoint of Qwen3-0.6B's size (1.2 GB, in the page cache) with Qwen3's tokenizer, of a text,
 * in new processes: under a second. Zeros that take no place on the disk stand in for the weights.
 */
import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { availableMemoryBytes } from "../../src/host.js";
import { describeIf } from "../support/shared.js";
import { QWEN3_ABSENT, qwen3Directory } from "../tokenizer/fixtures.js";

const kMostMs = 1_000;
/** The best of so many counts: one is enough on an idle machine, and CI's cores are shared. */
const kRounds = 12;

const tokenizer = qwen3Directory();
const hasRoom = availableMemoryBytes() > 3 * 2 ** 30; // for the page cache, the KV cache and two processes
const reason = tokenizer ? "there are not 3 GiB of memory available" : QWEN3_ABSENT;

describeIf(tokenizer !== undefined && hasRoom, reason, "load to first token", () => {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-first-token-"));
  const run = async (script: string, ...args: string[]): Promise<string> => {
    const path = fileURLToPath(new URL(`../../bench/${script}`, import.meta.url));
    return (await promisify(execFile)(process.execPath, [path, ...args])).stdout;
  };

  beforeAll(async () => {
    await run("make-checkpoint.mjs", "0.6B", directory, "--sparse");
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      copyFileSync(join(tokenizer!, name), join(directory, name));
    await run("first-token.mjs", "--child", directory); // warms the page cache
  }, 120_000);
  afterAll(() => rmSync(directory, { recursive: true }));

  it(`takes less than ${kMostMs} ms in a new process`, { timeout: 120_000 }, async ({ skip }) => {
    const times: number[] = [];
    while (times.length < kRounds && !(Math.min(...times) < kMostMs))
      times.push(Number(await run("first-token.mjs", "--child", directory)));
    console.log(`load to first token: ${times.map(Math.round).join(", ")} ms`);
    const load = loadavg()[0]!;
    skip(!(Math.min(...times) < kMostMs) && load > 1.5 * cpus().length, `too busy to judge: load ${load}`);
    expect(Math.min(...times)).toBeLessThan(kMostMs);
  });
});
