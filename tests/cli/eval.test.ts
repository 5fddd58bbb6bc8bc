/** `lockstep eval` from outside: the demo's golden pass@1, several attempts, ending and going on, reports, refusals. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EvalReport, passAtK, passHatK } from "lockstep/eval";
import { afterAll, expect, it, vi } from "vitest";
import { MAIN, MODEL, runCli } from "./run-cli.js";

vi.setConfig({ testTimeout: 120_000 });

const directory = mkdtempSync(join(tmpdir(), "lockstep-eval-"));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
const newFile = () => join(directory, `${++files}.json`);
const reportIn = (path: string) => JSON.parse(readFileSync(path, "utf8")) as EvalReport;
const resultsIn = (path: string) => ({ ...reportIn(path), run: undefined });
const home = (args: string[], options = {}) => runCli(["eval", "home", MODEL, ...args], options);

it("solves 64 of the 100 tasks greedily, and says so in tables, a report and a page", async () => {
  const [output, page] = [newFile(), join(directory, "page.html")];
  const { code, stdout, stderr } = await home(["--output", output, "--html", page]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^home +100 +0\.640 \[0\.\d+, 0\.\d+\]/m);
  const report = reportIn(output);
  expect(report).toMatchObject({
    ...{ hf_checkpoint: MODEL, task_split: "test", domains: ["home"], k: 1 },
    summary: { total: 100, pass_at_1: 0.64, pass_at_k: { 1: { estimate: 0.64 } } },
    settings: { checkpoint: expect.stringMatching(/^[0-9a-f]{64}$/), domains: { home: { max_steps: 12 } } },
  });
  expect(report.run.prefix_cache_hit_rate).toBeGreaterThan(0.5);
  expect(readFileSync(page, "utf8").match(/<details><summary><b class="failed"/g)).toHaveLength(36);

  const shown = await runCli(["eval", "report", output]);
  expect(shown).toMatchObject({ code: 0, stdout });
  const compared = await runCli(["eval", "report", output, output, "--json"]);
  expect(JSON.parse(compared.stdout)).toMatchObject({ first: output, overall: { tasks: 100, p: 1 } });
});

it("estimates pass@k and pass^k from several attempts", async () => {
  const args = ["--num-samples", "8", "--temperature", "1", "--max-tasks-per-domain", "6", "--json"];
  const { code, stdout } = await home(args);
  expect(code).toBe(0);
  const { summary, results } = JSON.parse(stdout) as EvalReport;
  const counts = results.map(({ attempts }) => attempts.filter(({ success }) => success).length);
  const mean = (of: (successes: number) => number) => counts.reduce((sum, one) => sum + of(one), 0) / 6;
  for (const k of [1, 2, 5, 8]) {
    const [any, all] = [summary.pass_at_k[k]!, summary.pass_hat_k[k]!];
    expect(any.estimate).toBeCloseTo(
      mean((successes) => passAtK({ n: 8, successes }, k)),
      12,
    );
    expect(all.estimate).toBeCloseTo(
      mean((successes) => passHatK({ n: 8, successes }, k)),
      12,
    );
    for (const { estimate, low, high } of [any, all]) {
      expect(low).toBeLessThanOrEqual(estimate);
      expect(high).toBeGreaterThanOrEqual(estimate);
    }
  }
  expect(new Set(counts).size).toBeGreaterThan(2); // neither all alike, nor all or nothing
});

it("goes on where Ctrl-C, a kill and a full disk ended it, with the same report", async () => {
  const args = ["--max-tasks-per-domain", "30", "--concurrency", "3", "--temperature", "1"];
  const whole = newFile();
  expect((await home([...args, "--output", whole])).code).toBe(0);

  const output = newFile();
  const journal = `${output}.journal.jsonl`;
  const size = () => (existsSync(journal) ? statSync(journal).size : 0);
  const endWith = (signal: NodeJS.Signals) => ({
    onStart: (child: ReturnType<typeof spawn>) => {
      const begun = size();
      const timer = setInterval(() => {
        if (size() <= begun + 2000) return;
        clearInterval(timer);
        child.kill(signal);
      }, 2);
    },
  });
  expect(await home([...args, "--output", output], endWith("SIGINT"))).toMatchObject({
    code: 130,
    stdout: "",
    stderr: "",
  });
  expect((await home([...args, "--output", output], endWith("SIGKILL"))).code).toBe(null);
  expect(existsSync(output)).toBe(false);
  // Room for less than the rest: files of this shell may have so many blocks of 1,024 bytes.
  const full = await new Promise<{ code: number | null; stderr: string }>((resolve) => {
    const command = `ulimit -f ${Math.ceil(size() / 1024) + 4}; exec "$@"`;
    const child = spawn("bash", [
      "-c",
      command,
      "bash",
      process.execPath,
      MAIN,
      "eval",
      "home",
      MODEL,
      ...args,
      "--output",
      output,
    ]);
    let stderr = "";
    child.stderr.on("data", (piece) => (stderr += piece));
    child.on("close", (code) => resolve({ code, stderr }));
  });
  expect(full).toEqual({
    code: 1,
    stderr: expect.stringMatching(/^error: Cannot write .*: EFBIG.* \(FILE_ERROR\)\n$/),
  });

  expect(await home([...args, "--output", output])).toMatchObject({ code: 0, stderr: "" });
  expect(resultsIn(output)).toEqual(resultsIn(whole));
  expect(reportIn(output).run).toMatchObject({ resumes: 3 });
  const other = await home([...args, "--output", output, "--top-k", "5"]);
  expect(other).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/these differ: domains\.home\.sampling\.topK \(not set then, 5 now\)/),
  });
});

it.each<[string, string[], RegExp]>([
  ["a domain that there is not", ["eval", "hom", MODEL], /unknown command 'hom'\n\(Did you mean home\?\)/],
  ["a split that there is not", ["eval", "home", MODEL, "--task-split", "tests"], /did you mean test\?/],
  [
    "a task that there is not",
    ["eval", "home", MODEL, "--task-ids", "home-000,home-0001"],
    /'home-0001': did you mean home-000\?/,
  ],
  ["no attempts", ["eval", "home", MODEL, "--num-samples", "0"], /numSamples but received 0/],
  [
    "sampling that the engine refuses",
    ["eval", "home", MODEL, "--temperature", "9"],
    /\[0, 2\] for temperature/,
  ],
  ["a page without a journal", ["eval", "home", MODEL, "--html", "page.html"], /--html needs --output/],
  ["no report", ["eval", "report"], /missing required argument/],
  ["a page of two reports", ["eval", "report", "a", "b", "--html", "c"], /--html takes one report/],
])("refuses %s with exit code 2", async (_, args, message) => {
  const { code, stdout, stderr } = await runCli(args);
  expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: "", stderr: expect.stringMatching(message) });
});

it("says which file is not what it should be, with exit code 1", async () => {
  const path = newFile();
  writeFileSync(path, "{}");
  expect(await runCli(["eval", "report", path])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/to be a report of an evaluation but it has no results \(FILE_ERROR\)/),
  });
  expect(await home(["--data", join(directory, "none")])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(
      /^error: Expected system\.txt of the home domain in .*ENOENT.*\(FILE_ERROR\)/,
    ),
  });
});
