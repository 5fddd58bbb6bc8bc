/** Files, reports and children for the tests of evaluations. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { EvalReport, JournalLine } from "../../src/eval/index.js";

const RUN = fileURLToPath(new URL("children/run.mjs", import.meta.url));

export function newFile(name = "report.json"): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-eval-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return join(directory, name);
}

/** A report's text without what two runs of the same thing need not share. */
export function resultsOf(path: string): string {
  const { run: _, ...rest } = JSON.parse(readFileSync(path, "utf8")) as EvalReport;
  return JSON.stringify(rest, undefined, 1);
}

export const attemptsIn = (journal: string): JournalLine[] =>
  readFileSync(journal, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as JournalLine)
    .filter((line) => !("settings" in line));

/** Runs children/run.mjs, or `command` with it; `onStart` at its first attempt. */
export function runChild(
  output: string,
  onStart?: (kill: () => void) => void,
  command = "exec",
): Promise<{ code: number | null; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn("bash", ["-c", `${command} "$@"`, "bash", process.execPath, RUN, output]);
    let stderr = "";
    child.stdout.once("data", () => onStart?.(() => child.kill("SIGKILL")));
    child.stderr.on("data", (piece) => {
      stderr += piece;
    });
    child.on("close", (code) => resolve({ code, stderr }));
  });
}
