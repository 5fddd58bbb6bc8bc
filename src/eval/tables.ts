/** Reports and comparisons as text for a terminal. Pure. */
import type { Change, Comparison } from "./compare.js";
import type { EvalReport, Summary } from "./report.js";
import type { Estimate } from "./statistics.js";

export function layOutReport(report: EvalReport): string {
  const { hf_checkpoint, task_split, k, summary, by_domain, mixed_settings, usage, run } = report;
  const summaries = Object.entries(by_domain);
  const rows = summaries.length > 1 ? [...summaries, ["all", summary] as const] : summaries;
  const head = [
    "",
    "tasks",
    "pass@1",
    ...(k > 1 ? [`pass@${k}`, `pass^${k}`] : []),
    "reward",
    "partial score",
  ];
  const row = ([name, one]: readonly [string, Summary]) => [
    ...[name, String(one.total), withInterval(one.pass_at_k[1]!)],
    ...(k > 1 ? [withInterval(one.pass_at_k[k]!), withInterval(one.pass_hat_k[k]!)] : []),
    ...[withInterval(one.mean_reward), withInterval(one.mean_partial_score)],
  ];
  return lines([
    `${hf_checkpoint}, split ${task_split}, ${counted(k, "attempt")} a task`,
    ...table([head, ...rows.map(row)]),
    ...(k > 2 ? ["", ...curveOf(summary, k)] : []),
    "",
    `ended      ${listed(summary.statuses)}`,
    ...(usage
      ? [
          `tokens     ${usage.prompt_tokens} of prompts, ${usage.completion_tokens} written${userOf(usage.user)}`,
        ]
      : []),
    ...(run
      ? [
          `time       ${run.seconds.toFixed(1)} s, ${percent(run.prefix_cache_hit_rate)} of prompts from the cache`,
        ]
      : []),
    ...(mixed_settings?.length
      ? [`WARNING: attempts were made with more than these settings: ${mixed_settings.join(", ")}`]
      : []),
    ...notesOf(report),
    "In brackets: 95 % intervals by resampling tasks.",
  ]);
}

/** What domains say of their settings. */
function notesOf({ settings }: EvalReport): string[] {
  const domains = Object.entries((settings?.domains ?? {}) as Record<string, { note?: unknown }>);
  return domains.flatMap(([name, { note }]) => (typeof note === "string" ? [`${name}: ${note}`] : []));
}

/** pass@k and pass^k for 1, 2, 4, ... and k. */
function curveOf(summary: Summary, k: number): string[] {
  const ks = Array.from({ length: Math.floor(Math.log2(k)) + 1 }, (_, i) => 2 ** i);
  if (ks.at(-1) !== k) ks.push(k);
  return table([
    ["k", "pass@k", "pass^k"],
    ...ks.map((one) => [
      ...[String(one), withInterval(summary.pass_at_k[one]!), withInterval(summary.pass_hat_k[one]!)],
    ]),
  ]);
}

/** `first` and `second`: the names of the files. */
export function layOutComparison(first: string, second: string, comparison: Comparison): string {
  const { overall, by_domain, attempts, unpaired, settings } = comparison;
  const domains = Object.entries(by_domain);
  const rows = domains.length > 1 ? [...domains, ["all", overall] as const] : domains;
  const head = ["", "tasks", "first", "second", "difference", "better", "worse", "p", ""];
  const row = ([name, one]: readonly [string, Change]) => [
    ...[name, String(one.tasks), fixed(one.before), fixed(one.after), withInterval(one.difference)],
    ...[String(one.better.length), String(one.worse.length), one.p.toPrecision(2), one.verdict],
  ];
  return lines([
    `first   ${first}`,
    `second  ${second}`,
    ...(settings.length > 0 ? [`settings that differ, first then second: ${settings.join(", ")}`] : []),
    `attempts compared at each task: ${attempts}`,
    ...(unpaired > 0 ? [`left out: ${counted(unpaired, "task")} in one of them only`] : []),
    "",
    ...table([head, ...rows.map(row)]),
    "",
    ...rows
      .filter(([name]) => name !== "all")
      .flatMap(([name, { better, worse }]) => [
        ...(better.length > 0 ? [`${name}, better: ${better.join(", ")}`] : []),
        ...(worse.length > 0 ? [`${name}, worse: ${worse.join(", ")}`] : []),
      ]),
    "p: exact sign test on the tasks that differ. In brackets: 95 % intervals by resampling tasks.",
  ]);
}

const lines = (texts: readonly string[]): string => `${texts.join("\n")}\n`;
const fixed = (value: number): string => value.toFixed(3);
const withInterval = ({ estimate, low, high }: Estimate): string =>
  `${fixed(estimate)} [${fixed(low)}, ${fixed(high)}]`;
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
const listed = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
const userOf = (usage: Record<string, number>): string =>
  Object.keys(usage).length > 0 ? `; the user's: ${listed(usage)}` : "";

/** Columns side by side, the first to the left, the others to the left too: intervals are of one width. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
}
