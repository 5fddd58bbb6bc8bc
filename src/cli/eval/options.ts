/**
 * Owns the flags that every `lockstep eval` command with a model has, and running an evaluation with them. Main thread.
 *
 * A command adds its own flags and hands over its domains. Must not know ranges or defaults: runEval() and the engine own
 * those, and their refusals name them.
 */
import type { Command } from "commander";
import { writeHtml } from "../../eval/html.js";
import type { Domain, EvalReport } from "../../eval/index.js";
import { journalOf } from "../../eval/journal.js";
import { layOutReport } from "../../eval/tables.js";
import type { Engine } from "../../index.js";
import { digestOfCheckpoint } from "../digests.js";
import { addLoadOptions, type LoadFlags, loadEngine, loadOptionsOf } from "../model.js";
import { parseInteger, parseNumber } from "../numbers.js";
import { roundsBar, watchInterruption } from "../terminal.js";

export interface EvalFlags extends LoadFlags {
  taskSplit?: string;
  taskIds?: string[];
  maxTasksPerDomain?: number;
  numSamples?: number;
  maxSteps?: number;
  maxNewTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  repetitionPenalty?: number;
  seed?: number;
  concurrency?: number;
  output?: string;
  html?: string;
  resumeAnyway?: true;
  json?: true;
}

export const EVAL_HELP = `
What is not given is the domain's default, and what that does not say comes from the checkpoint's generation_config.json.

With --output FILE each attempt goes into FILE.journal.jsonl as it finishes, with its transcript, and FILE is the report, at the
end. Whatever ends a run (Ctrl-C, kill -9, a full disk), the same command goes on with it: what was finished is kept, and the
report is the same outside its "run". A journal of other settings is refused unless --resume-anyway is given.

Exit codes: 0 all attempts are in the report, whatever came of them; 1 the run failed or could not be written; 2 wrong usage;
130 interrupted.`;

export function addEvalOptions(command: Command): Command {
  command
    .option("--task-split <name>", "which of the domain's tasks")
    .option("--task-ids <ids>", "only these tasks, by comma", (text) => text.split(","))
    .option("--max-tasks-per-domain <integer>", "only the first so many", parseInteger)
    .option("-k, --num-samples <integer>", "attempts at each task (default: 1)", parseInteger)
    .option("--max-steps <integer>", "steps of an attempt, at most", parseInteger)
    .option("--max-new-tokens <integer>", "tokens of a turn, at most", parseInteger)
    .option("-t, --temperature <number>", "0 = greedy", parseNumber)
    .option("--top-p <number>", "sample from the most likely tokens up to this probability", parseNumber)
    .option("--top-k <integer>", "sample from the k most likely tokens; 0 = off", parseInteger)
    .option("--repetition-penalty <number>", "of tokens in the prompt and the output; 1 = off", parseNumber)
    .option("--seed <integer>", "the same seed gives the same attempts (default: 0)", parseInteger)
    .option("--concurrency <integer>", "attempts at once, at most; changes no result", parseInteger)
    .option("-o, --output <file>", "the report; the journal goes beside it")
    .option("--html <file>", "the report to read, with each attempt turn by turn; needs --output")
    .option("--resume-anyway", "go on with a journal of other settings, and say so in the report");
  return addLoadOptions(command)
    .option("--json", "write the report to stdout instead of tables")
    .addHelpText("after", EVAL_HELP);
}

/** Loads the model, plays, writes what was asked for. `domains` may use the engine. */
export async function evaluate(
  model: string,
  flags: EvalFlags,
  command: Command,
  domains: (engine: Engine, signal: AbortSignal) => readonly Domain[] | Promise<readonly Domain[]>,
): Promise<void> {
  const { html, output } = flags;
  if (html !== undefined && output === undefined)
    command.error("error: --html needs --output FILE: transcripts are in the journal beside it");
  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    const report = await play(engine, await domains(engine, signal), model, flags, signal);
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : layOutReport(report));
    if (html !== undefined) await writeHtml(html, report, output!);
  } catch (error) {
    if (error !== signal.reason) throw error; // the reason is the interruption's, no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

async function play(
  engine: Engine,
  domains: readonly Domain[],
  model: string,
  flags: EvalFlags,
  signal: AbortSignal,
): Promise<EvalReport> {
  const { runEval } = await import("../../eval/index.js");
  const { taskSplit, maxNewTokens, temperature, topP, topK, repetitionPenalty, output } = flags;
  const { taskIds, maxTasksPerDomain, numSamples, maxSteps, seed, concurrency, resumeAnyway } = flags;
  let bar: ReturnType<typeof roundsBar> | undefined;
  let shown = 0;
  try {
    return await runEval(engine, domains, {
      ...{ taskIds, maxTasksPerDomain, numSamples, maxSteps, seed, concurrency, resumeAnyway },
      ...{ split: taskSplit, model, checkpoint: await digestOfCheckpoint(engine.directory), signal },
      sampling: { maxTokens: maxNewTokens, temperature, topP, topK, repetitionPenalty },
      ...(output !== undefined && { output, journal: journalOf(output) }),
      onProgress({ total, finished }) {
        bar ??= roundsBar("attempts", total);
        for (; shown < finished; ++shown) bar.increment();
      },
    });
  } finally {
    bar?.[Symbol.dispose]();
  }
}
