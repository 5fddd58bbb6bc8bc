/**
 * `lockstep rollout MODEL --prompts FILE --out FILE`: samples of many prompts into a file that slime reads.
 *
 * Owns the command's options and output. Main thread. Must not write a sample that was cut short as a finished one, and must
 * be able to go on where it was ended, however that was: the file's rules are the journal's (src/rollout/journal.ts).
 */
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import type {
  Engine,
  ErrorCode,
  LockstepError,
  RewardCallback,
  RolloutOptions,
  RolloutSample,
  TurnCallback,
} from "../index.js";
import { Journal } from "../rollout/journal.js";
import { inLine, missingRequests, type PromptLine, parsePromptLines } from "../rollout/prompt-lines.js";
import { toSlimeSample } from "../rollout/slime-sample.js";
import { digestOfCheckpoint, digestOfFile } from "./digests.js";
import { EXIT_FAILED } from "./failure.js";
import { addLoadOptions, addModel, type LoadFlags, loadEngine, loadOptionsOf } from "./model.js";
import { parsePositiveInteger } from "./numbers.js";
import { addSamplingOptions, SAMPLING_HELP, type SamplingFlags, samplingOf } from "./sampling-flags.js";
import { roundsBar, watchInterruption } from "./terminal.js";

interface RolloutFlags extends SamplingFlags, LoadFlags {
  prompts: string;
  out: string;
  samples: number;
  maxResponseTokens?: number;
  keptTokenIds?: true;
  reward?: string;
  json?: true;
}

const HELP = `
Each line of --prompts is a JSON object: { "prompt": "..." }, or { "messages": [...], "tools": [...] }, or { "tokens": [...] },
with "n", "sampling" and "metadata" where wanted. Line i is group i; its seed is --seed + i unless "sampling" has one.

--reward names a module: reward(sample, context), its default export, returns a number; turn(sample, context), if it exports
that, returns the next observation ({ messages }, { text } or { tokens }) or nothing, which ends the episode.

Each line of --out is a finished sample as slime's Sample.from_dict reads it. The file only grows: the same command goes on
where it was ended, by Ctrl-C, kill -9 or a full disk, and what it adds has the bits that it would have had (on the same compute
path). Other settings than those in OUT.settings.json are refused. Samples that Ctrl-C cuts short are not written; the next run
makes them.

${SAMPLING_HELP}

Exit codes: 0 all samples are there, 1 some failed (status "failed" in the file) or could not be written, 2 wrong usage,
130 interrupted.`;

export function registerRollout(program: Command): void {
  const command = addModel(program.command("rollout"))
    .summary("sample many prompts into a file, for training")
    .description(
      "Samples prompts, in one turn or many, with rewards, and writes JSON lines that slime reads.",
    )
    .requiredOption("--prompts <file>", "requests, a JSON object a line")
    .requiredOption("--out <file>", "samples, a JSON object a line; gone on with where it exists")
    .option("--samples <integer>", "of each prompt that does not say", parsePositiveInteger, 1)
    .option(
      "--max-response-tokens <integer>",
      "over all turns of a sample, observations included (default: the context)",
      parsePositiveInteger,
    )
    .option("--kept-token-ids", "write which ids top-k, top-p and min-p left, as rollout_top_p_token_ids")
    .option("--reward <module>", "rewards, and turns");
  addLoadOptions(addSamplingOptions(command))
    .option("--json", "write one JSON object, the run's totals, instead of text")
    .addHelpText("after", HELP)
    .action(rollout);
}

/** Rewards and turns, as the module exports them. */
async function callbacksOf(path: string, command: Command): Promise<Pick<RolloutOptions, "reward" | "turn">> {
  const { default: reward, turn } = (await import(pathToFileURL(resolve(path)).href)) as {
    default?: RewardCallback;
    turn?: TurnCallback;
  };
  const given = [reward, turn].filter((callback) => callback !== undefined);
  if (given.length === 0 || given.some((callback) => typeof callback !== "function"))
    command.error(`error: ${path} must export a function: a reward as its default, a turn as turn, or both`);
  return { reward, turn };
}

async function rollout(model: string, flags: RolloutFlags, command: Command) {
  const { prompts, out, samples, maxResponseTokens } = flags;
  const lines = parsePromptLines(await readFile(prompts, "utf8"), { path: prompts, n: samples });
  const callbacks = flags.reward === undefined ? {} : await callbacksOf(flags.reward, command);
  const { seed, ...others } = samplingOf(flags);
  const sampling = { ...others, keptTokenIds: flags.keptTokenIds };

  using interruption = watchInterruption();
  const { signal } = interruption;
  try {
    await using engine = await loadEngine(model, { ...loadOptionsOf(flags), signal });
    const settings = {
      lockstep: command.parent?.version(),
      checkpoint: await digestOfCheckpoint(engine.directory),
      prompts: await digestOfFile(prompts),
      reward: flags.reward && (await digestOfFile(flags.reward)),
      ...{ samples, maxResponseTokens, seed, ...sampling },
    };
    const journal = await Journal.open(out, settings, { seed: randomInt(2 ** 48 - 1) });
    const options = { sampling, maxResponseTokens, ...callbacks, signal };
    const totals = await run(engine, journal, { prompts, lines, options });
    if (flags.json)
      process.stdout.write(`${JSON.stringify({ out, seed: journal.settings.seed, ...totals })}\n`);
    else process.stdout.write(layOut(out, totals));
    if (totals.failed > 0) process.exitCode = EXIT_FAILED;
  } catch (error) {
    if (error !== signal.reason) throw error; // an aborted load rejects with the reason, which is no failure
  }
  if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
}

interface Run {
  prompts: string;
  lines: readonly PromptLine[];
  options: RolloutOptions;
}

/** Of samples: those that this run wrote, by status; those that were there before, and those that still are not. */
interface Totals {
  earlier: number;
  completed: number;
  truncated: number;
  failed: number;
  missing: number;
  generatedTokens: number;
  /** Of this run's samples, where they have one. */
  meanReward?: number;
  firstError?: string;
}

/** Errors that say nothing about the sample: it is left to the next run, and this one ends. */
const kOfEngine: ReadonlySet<ErrorCode> = new Set(["ENGINE_FAILED", "ENGINE_CLOSED", "OUT_OF_MEMORY"]);

async function run(engine: Engine, journal: Journal, { prompts, lines, options }: Run): Promise<Totals> {
  const has = (group: number, k: number) => journal.has(group, k);
  const missing = missingRequests(lines, journal.settings.seed as number, has);
  const { requests, groups } = missing;
  const counts = { completed: 0, truncated: 0, failed: 0, missing: missing.samples, generatedTokens: 0 };
  const totals: Totals = { earlier: journal.count, ...counts };
  const rewards: number[] = [];
  using bar = roundsBar("sampling", missing.samples);
  try {
    for await (const placed of engine.rollouts(requests, inGroups(options, groups))) {
      const { error, reward, usage } = placed;
      if (error && kOfEngine.has(error.code))
        throw Object.assign(new Error(error.message), { code: error.code });
      const sample = toSlimeSample(inGroup(placed, groups));
      totals.generatedTokens += usage.completionTokens;
      if (sample.status === "aborted") continue;
      await journal.append(sample);
      ++totals[sample.status];
      --totals.missing;
      bar.increment();
      if (reward !== undefined) rewards.push(reward);
      if (error) totals.firstError ??= error.message;
    }
  } catch (error) {
    throw ofLine(error, prompts, (place) => lines[groups[place]!]!.lineNumber);
  } finally {
    await journal.close();
  }
  if (rewards.length > 0) totals.meanReward = rewards.reduce((sum, one) => sum + one, 0) / rewards.length;
  return totals;
}

/** The refusal of a request, by its line in the file. */
function ofLine(error: unknown, path: string, lineNumberOf: (place: number) => number): unknown {
  const { code, message } = error as LockstepError;
  const [, place, reason] = /^requests\[(\d+)\]: (.*)$/s.exec(message) ?? [];
  return reason === undefined ? error : inLine(path, lineNumberOf(Number(place)), reason, code);
}

/** A sample as of the line that its request is from: the engine counts requests, and those of finished samples are left out. */
const inGroup = (sample: RolloutSample, groups: readonly number[]): RolloutSample => ({
  ...sample,
  groupIndex: groups[sample.groupIndex]!,
});

function inGroups(options: RolloutOptions, groups: readonly number[]): RolloutOptions {
  const { turn, reward } = options;
  return {
    ...options,
    turn: turn && ((sample, context) => turn(inGroup(sample, groups), context)),
    reward: reward && ((sample, context) => reward(inGroup(sample, groups), context)),
  };
}

function layOut(out: string, totals: Totals): string {
  const { earlier, completed, truncated, failed, missing, generatedTokens, meanReward, firstError } = totals;
  return [
    `samples   ${completed} completed, ${truncated} truncated, ${failed} failed`,
    ...(firstError === undefined ? [] : [`          the first that failed: ${firstError}`]),
    `tokens    ${generatedTokens} sampled`,
    ...(meanReward === undefined ? [] : [`reward    ${meanReward.toFixed(4)} on average`]),
    `in ${out} ${earlier + completed + truncated + failed}, ${earlier} of them from earlier runs; ${missing} still to be made`,
    "",
  ].join("\n");
}
