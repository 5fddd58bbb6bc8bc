/**
 * Owns the report of an evaluation: attempts in, one JSON object out, with the fields of the benchmark's own report under
 * their names, and ours beside them. Pure. What two runs of the same thing need not share is in `run`, and nothing else is.
 */
import type { Settings } from "../line-file.js";
import type { ReportedAttempt } from "./journal.js";
import { type Attempts, type Estimate, estimateMeans, passAtK, passHatK } from "./statistics.js";

export interface Summary {
  /** Tasks. */
  total: number;
  /** Share of tasks whose first attempt succeeded; `pass_at_{k}` beside it: of those of whose k attempts any did. */
  pass_at_1: number;
  [passAt: `pass_at_${number}`]: number;
  /** By k, from all attempts, unbiased: the chance that one of k succeeds, and that all k do. */
  pass_at_k: Record<string, Estimate>;
  pass_hat_k: Record<string, Estimate>;
  mean_reward: Estimate;
  mean_partial_score: Estimate;
  /** Attempts by how they ended. */
  statuses: Record<string, number>;
}

export interface TaskResult {
  domain: string;
  task_split: string;
  /** Among the domain's tasks of this run. */
  task_index: number;
  task_id: string;
  num_samples: number;
  best_success: boolean;
  best_reward: number;
  best_partial_score: number;
  best_sample_idx: number;
  attempts: ReportedAttempt[];
  pass_at_1: number;
  pass_at_k: number;
}

export interface EvalReport {
  hf_checkpoint: string;
  sglang_url: null;
  task_split: string;
  domains: string[];
  k: number;
  metric_note: string;
  summary: Summary;
  by_domain: Record<string, Summary>;
  results: TaskResult[];
  /** All that decides the results. */
  settings: Settings;
  /** Not empty: the attempts were made with more than these settings; each difference. */
  mixed_settings: string[];
  usage: { prompt_tokens: number; completion_tokens: number; user: Record<string, number> };
  /** Times, cache hits, resumes: what another run of the same thing need not share. */
  run: RunFacts;
}

export interface RunFacts {
  started: string; // ISO 8601
  finished: string;
  /** Of this session, the engine's loading left out. */
  seconds: number;
  /** Sessions before this one that were ended, and attempts that they had finished. */
  resumes: number;
  attempts_kept: number;
  /** Of all attempts, sessions before this one included: they ran at once, so this is not the time it took. */
  attempt_seconds: number;
  cached_tokens: number;
  prefix_cache_hit_rate: number;
  [more: string]: unknown;
}

export interface ReportInput {
  checkpoint: string;
  split: string;
  domains: string[];
  k: number;
  /** In the report's order, each with k attempts. */
  tasks: { domain: string; taskIndex: number; taskId: string; attempts: ReportedAttempt[] }[];
  settings: Settings;
  mixed: readonly string[];
  run: RunFacts;
}

const kNote =
  "pass_at_1: the first attempt; pass_at_{k}: any of k. pass_at_k and pass_hat_k (all of k) are unbiased estimates from all attempts, with 95 % intervals by resampling tasks";

export function makeReport({
  checkpoint,
  split,
  domains,
  k,
  tasks,
  settings,
  mixed,
  run,
}: ReportInput): EvalReport {
  const results = tasks.map((task) => resultOf(task, split));
  const attempts = results.flatMap((result) => result.attempts);
  return {
    hf_checkpoint: checkpoint,
    sglang_url: null,
    task_split: split,
    domains,
    k,
    metric_note: kNote,
    ...summariesOf(results, k),
    results,
    settings,
    mixed_settings: [...mixed],
    usage: {
      prompt_tokens: sum(attempts.map((attempt) => attempt.prompt_tokens)),
      completion_tokens: sum(attempts.map((attempt) => attempt.completion_tokens)),
      user: sumEach(attempts.map((attempt) => attempt.user_usage)),
    },
    run,
  };
}

function resultOf(
  { domain, taskIndex, taskId, attempts }: ReportInput["tasks"][number],
  split: string,
): TaskResult {
  const bestIndex = bestOf(attempts);
  const best = attempts[bestIndex]!;
  return {
    domain,
    task_split: split,
    task_index: taskIndex,
    task_id: taskId,
    num_samples: attempts.length,
    best_success: best.success,
    best_reward: best.reward,
    best_partial_score: best.partial_score,
    best_sample_idx: bestIndex,
    attempts,
    pass_at_1: Number(attempts[0]!.success),
    pass_at_k: Number(attempts.some(({ success }) => success)),
  };
}

/** A success before a failure, then the higher partial score, then the earlier attempt. */
function bestOf(attempts: readonly ReportedAttempt[]): number {
  let best = 0;
  attempts.forEach(({ success, partial_score }, i) => {
    const other = attempts[best]!;
    if (success !== other.success ? success : partial_score > other.partial_score) best = i;
  });
  return best;
}

export const attemptsOf = ({ attempts }: TaskResult): Attempts => ({
  n: attempts.length,
  successes: attempts.filter(({ success }) => success).length,
});

/** Of all tasks and of each domain's. `k`: attempts that every task has. */
export function summariesOf(
  results: readonly TaskResult[],
  k: number,
): Pick<EvalReport, "summary" | "by_domain"> {
  const strata = byDomain(results);
  return {
    summary: summarize(Object.values(strata), k),
    by_domain: Object.fromEntries(
      Object.entries(strata).map(([name, stratum]) => [name, summarize([stratum], k)]),
    ),
  };
}

/** By the domain's name, sorted. */
export function byDomain(results: readonly TaskResult[]): Record<string, TaskResult[]> {
  const names = [...new Set(results.map(({ domain }) => domain))].sort();
  return Object.fromEntries(names.map((name) => [name, results.filter(({ domain }) => domain === name)]));
}

/** `strata`: the results of each domain. */
function summarize(strata: readonly TaskResult[][], k: number): Summary {
  const results = strata.flat();
  const ks = Array.from({ length: k }, (_, i) => i + 1);
  const estimates = estimateMeans(
    strata.map((stratum) =>
      stratum.map((result) => {
        const counts = attemptsOf(result);
        return [
          ...ks.map((one) => passAtK(counts, one)),
          ...ks.map((one) => passHatK(counts, one)),
          mean(result.attempts.map(({ reward }) => reward)),
          mean(result.attempts.map(({ partial_score }) => partial_score)),
        ];
      }),
    ),
  );
  const byK = (from: number) => Object.fromEntries(ks.map((one, i) => [one, estimates[from + i]!]));
  const shareOf = (solved: (attempts: ReportedAttempt[]) => boolean) =>
    mean(results.map(({ attempts }) => Number(solved(attempts))));
  const any = {
    [`pass_at_${k}`]: shareOf((attempts) => attempts.slice(0, k).some(({ success }) => success)),
  };
  return {
    total: results.length,
    pass_at_1: shareOf(([first]) => first!.success),
    ...(any as Record<`pass_at_${number}`, number>),
    pass_at_k: byK(0),
    pass_hat_k: byK(k),
    mean_reward: estimates[2 * k]!,
    mean_partial_score: estimates[2 * k + 1]!,
    statuses: tally(results.flatMap(({ attempts }) => attempts.map(({ status }) => status))),
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

function tally(names: readonly string[]): Record<string, number> {
  return sumEach([...names].sort().map((name) => ({ [name]: 1 })));
}

function sumEach(counts: readonly Record<string, number>[]): Record<string, number> {
  const totals = new Map<string, number>();
  for (const count of counts)
    for (const [name, value] of Object.entries(count)) totals.set(name, (totals.get(name) ?? 0) + value);
  return Object.fromEntries(totals);
}
