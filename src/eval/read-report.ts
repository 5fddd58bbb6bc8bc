/** Owns reading a report from a file: ours, or the original's, which says less. Main thread. */
import { readFile } from "node:fs/promises";
import { LockstepError } from "../errors.js";
import { type EvalReport, summariesOf, type TaskResult } from "./report.js";

/** With summaries made from its results, whoever wrote it. Throws FILE_ERROR for what is no report. */
export async function readReport(path: string): Promise<EvalReport> {
  let report: EvalReport;
  try {
    report = JSON.parse(await readFile(path, "utf8")) as EvalReport;
  } catch (cause) {
    throw noReport(path, (cause as Error).message);
  }
  const { results } = report ?? {};
  if (!Array.isArray(results) || results.length === 0) throw noReport(path, "it has no results");
  const at = results.findIndex((result) => !isResult(result));
  if (at >= 0) throw noReport(path, `its results[${at}] is no task with its attempts`);
  const k = Math.min(...results.map(({ attempts }) => attempts.length));
  return { ...report, k, ...summariesOf(results, k) };
}

function isResult(result: Partial<TaskResult> | null): boolean {
  const { domain, task_id, attempts } = result ?? {};
  return (
    typeof domain === "string" &&
    typeof task_id === "string" &&
    Array.isArray(attempts) &&
    attempts.length > 0 &&
    attempts.every(
      (attempt) =>
        typeof attempt?.success === "boolean" &&
        typeof attempt.reward === "number" &&
        typeof attempt.partial_score === "number" &&
        typeof attempt.status === "string",
    )
  );
}

function noReport(path: string, what: string): LockstepError {
  return new LockstepError("FILE_ERROR", `Expected ${path} to be a report of an evaluation but ${what}`);
}
