/**
 * Two reports of the same tasks: what has changed, and whether chance would do as much. Pure.
 *
 * Tasks are paired: a run's luck with hard and easy tasks falls out. Must say of a difference that it is one only where the
 * exact test does, and count as many attempts of a task in both: shares of other denominators differ without a reason.
 */
import { differences, type Settings } from "../line-file.js";
import { attemptsOf, byDomain, type EvalReport, type TaskResult } from "./report.js";
import { type Estimate, estimateMeans, signTest } from "./statistics.js";

/** What is said to be a difference: chance does as much in fewer than one comparison of twenty. */
const kSignificant = 0.05;

export interface Change {
  /** Tasks in both reports. */
  tasks: number;
  /** Share of successful attempts: the mean over tasks, in the first report and in the second. */
  before: number;
  after: number;
  /** after - before, with its 95 % interval by resampling tasks. */
  difference: Estimate;
  /** Tasks that succeed more often in the second report, and in the first. */
  better: string[];
  worse: string[];
  /** Of the exact sign test on them (with one attempt a task: McNemar's). */
  p: number;
  verdict: string;
}

export interface Comparison {
  /** Of each task, in both reports: the first so many, where one has more. */
  attempts: number;
  overall: Change;
  by_domain: Record<string, Change>;
  /** Tasks that are in one report only: left out. */
  unpaired: number;
  /** Settings that are not the same, where both reports say theirs. */
  settings: string[];
}

type Pair = [TaskResult, TaskResult];

export function compareReports(first: EvalReport, second: EvalReport): Comparison {
  const key = ({ domain, task_id }: TaskResult) => JSON.stringify([domain, task_id]);
  const others = new Map(second.results.map((result) => [key(result), result]));
  const attempts = Math.min(...[...first.results, ...second.results].map((result) => result.attempts.length));
  const cut = (result: TaskResult) => ({ ...result, attempts: result.attempts.slice(0, attempts) });
  const pairs = first.results.flatMap((result): Pair[] => {
    const other = others.get(key(result));
    return other ? [[cut(result), cut(other)]] : [];
  });
  const strata = Object.entries(byDomain(pairs.map(([result]) => result))).map(
    ([name]) => [name, pairs.filter(([{ domain }]) => domain === name)] as const,
  );
  return {
    attempts,
    overall: changeOf(strata.map(([, stratum]) => stratum)),
    by_domain: Object.fromEntries(strata.map(([name, stratum]) => [name, changeOf([stratum])])),
    unpaired: first.results.length + second.results.length - 2 * pairs.length,
    settings: differences(settingsOf(first), settingsOf(second)),
  };
}

/** Reports of the original say less. */
const settingsOf = ({ settings, task_split, k }: EvalReport): Settings =>
  settings ?? { task_split, num_samples: k };

function changeOf(strata: readonly Pair[][]): Change {
  const pairs = strata.flat();
  const rows = (stratum: readonly Pair[]) =>
    stratum.map(([first, second]) => {
      const [before, after] = [rateOf(first), rateOf(second)];
      return [before, after, after - before];
    });
  const [before, after, difference] = estimateMeans(strata.map(rows));
  const named = (sign: number) =>
    pairs.filter(([a, b]) => Math.sign(rateOf(b) - rateOf(a)) === sign).map(([{ task_id }]) => task_id);
  const [better, worse] = [named(1), named(-1)];
  const p = signTest(better.length, worse.length);
  return {
    tasks: pairs.length,
    before: before?.estimate ?? 0,
    after: after?.estimate ?? 0,
    difference: difference ?? { estimate: 0, low: 0, high: 0 },
    ...{ better, worse, p, verdict: verdictOf(better.length, worse.length, p) },
  };
}

function rateOf(result: TaskResult): number {
  const { n, successes } = attemptsOf(result);
  return successes / n;
}

function verdictOf(better: number, worse: number, p: number): string {
  if (better + worse === 0) return "no difference on any task";
  if (p >= kSignificant) return "no evidence of a difference";
  return `evidence that the ${better > worse ? "second" : "first"} is better`;
}
