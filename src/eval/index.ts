/** Public exports of `lockstep/eval` only. */
export { type AttemptOptions, type AttemptResult, type EvalEngine, playAttempt } from "./agent.js";
export { type Change, type Comparison, compareReports } from "./compare.js";
export {
  type Answer,
  type AttemptContext,
  type AttemptStatus,
  type Domain,
  type EndReason,
  type Episode,
  type EvalTask,
  isOutcome,
  type Outcome,
  type Turn,
  type TurnSampling,
} from "./domain.js";
export { type HomeDomain, type HomeTask, homeDomain } from "./home/home.js";
export { writeHtml } from "./html.js";
export { type AttemptRecord, type JournalLine, type ReportedAttempt, readJournal } from "./journal.js";
export type { EvalOptions, EvalProgress } from "./options.js";
export { readReport } from "./read-report.js";
export type { EvalReport, RunFacts, Summary, TaskResult } from "./report.js";
export { runEval } from "./runner.js";
export { type Attempts, type Estimate, passAtK, passHatK, signTest } from "./statistics.js";
export * from "./tau2/index.js";
