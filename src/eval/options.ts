/** Owns the options of runEval(): what is refused, what is decided where nothing is given, and which attempts come of it. Pure. */
import {
  abortSignal,
  boolean,
  type Check,
  callback,
  checkOptions,
  integer,
  isPlainObject,
  string,
  unknownName,
} from "../check.js";
import { LockstepError } from "../errors.js";
import { kMaxSteps } from "./agent.js";
import type { Domain, EvalTask, TurnSampling } from "./domain.js";
import type { JournalLine } from "./journal.js";

export interface EvalOptions {
  /** One of the domains' splits. Default: the first domain's, else "test". */
  split?: string | undefined;
  /** Attempts at each task. Default 1. */
  numSamples?: number | undefined;
  /** Only these tasks; each must be a task of one of the domains. */
  taskIds?: readonly string[] | undefined;
  /** Only the first so many of each domain. */
  maxTasksPerDomain?: number | undefined;
  /** Steps of an attempt, at most. Default: the domain's, else 100. */
  maxSteps?: number | undefined;
  /** Over the domain's. */
  sampling?: TurnSampling | undefined;
  /** Of the run: [0, 2^53). Each task's is derived from it. Default 0. */
  seed?: number | undefined;
  /** Attempts that run at once, at most. Default: the least of the domains', else 256. Changes no result. */
  concurrency?: number | undefined;
  /** A file that finished attempts are written to, and gone on with. Default: none. */
  journal?: string | undefined;
  /** Go on with a journal of other settings, and say so in the report. Default false. */
  resumeAnyway?: boolean | undefined;
  /** A file that the report is written to, whole or not at all. Default: none. */
  output?: string | undefined;
  /** The checkpoint's name in the report. Default: the engine's directory. */
  model?: string | undefined;
  /** What tells the checkpoint from others, such as a hash of its files: a journal of another one is refused. */
  checkpoint?: string | undefined;
  /** Ends the run: runEval rejects with the reason, and attempts under way are dropped. */
  signal?: AbortSignal | undefined;
  /** As the next one: what it throws ends the run. */
  onProgress?: ((progress: EvalProgress) => void) | undefined;
  /** Each attempt of this run that has finished, with its transcript, once it is in the journal. */
  onAttempt?: ((attempt: JournalLine) => void) | undefined;
}

/** Of attempts, those kept from earlier runs included. */
export interface EvalProgress {
  total: number;
  finished: number;
  succeeded: number;
}

export interface Plan {
  options: EvalOptions;
  split: string;
  numSamples: number;
  seed: number;
  concurrency: number;
  domains: PlannedDomain[];
}

export interface PlannedDomain {
  domain: Domain;
  tasks: readonly EvalTask[];
  maxSteps: number;
  sampling: TurnSampling;
}

/** More at once only wait: the default of an engine's `maxSequences`. */
const kConcurrency = 256;
const kMax = 1_000_000;

const strings: Check<readonly string[]> = (value, where) => {
  if (!Array.isArray(value)) return [string(value, where)];
  return value.map((one, i) => string(one, `${where}[${i}]`));
};
const sampling: Check<TurnSampling> = (value, where) => {
  if (isPlainObject(value)) return value as TurnSampling; // the engine checks what is in it
  throw new LockstepError("INVALID_ARGUMENT", `Expected an object of sampling options for ${where}`);
};

/** Everything decided. Throws INVALID_ARGUMENT. */
export function planOf(domains: readonly Domain[], given: EvalOptions | undefined): Plan {
  const options: EvalOptions = checkOptions<EvalOptions>(given, "evaluation options", {
    split: string,
    numSamples: integer(1, kMax),
    taskIds: strings,
    maxTasksPerDomain: integer(1, kMax),
    maxSteps: integer(1, kMax),
    sampling,
    seed: integer(0, Number.MAX_SAFE_INTEGER),
    concurrency: integer(1, kMax),
    journal: string,
    resumeAnyway: boolean,
    output: string,
    model: string,
    checkpoint: string,
    signal: abortSignal,
    onProgress: callback(),
    onAttempt: callback(),
  });
  const names = domains.map(({ name }) => name);
  refuseTwice(names, "domain");
  const split = options.split ?? domains[0]?.defaults?.split ?? "test";
  const planned = domains.map((domain) => planDomain(domain, split, options));
  if (options.taskIds) requireKnown(options.taskIds, domains, split);
  const limits = domains.map(({ defaults }) => defaults?.concurrency ?? kConcurrency);
  const chosen = planned.filter(({ tasks }) => tasks.length > 0);
  if (chosen.length === 0)
    throw new LockstepError(
      "INVALID_ARGUMENT",
      `Expected tasks in split ${split} of ${names.join(", ") || "some domain"} but there are none`,
    );
  return {
    ...{ options, split, domains: chosen },
    numSamples: options.numSamples ?? 1,
    seed: options.seed ?? 0,
    concurrency: options.concurrency ?? Math.min(...limits),
  };
}

function planDomain(domain: Domain, split: string, options: EvalOptions): PlannedDomain {
  const { name, splits, defaults } = domain;
  if (!splits.includes(split)) throw unknownName(split, `a split of ${name}`, splits);
  const all = domain.tasks(split);
  refuseTwice(
    all.map(({ id }) => id),
    `task of ${name}`,
  );
  const { taskIds, maxTasksPerDomain } = options;
  const tasks = all.filter(({ id }) => taskIds?.includes(id) ?? true).slice(0, maxTasksPerDomain);
  const given = Object.entries(options.sampling ?? {}).filter(([, value]) => value !== undefined);
  return {
    ...{ domain, tasks },
    maxSteps: options.maxSteps ?? defaults?.maxSteps ?? kMaxSteps,
    sampling: { ...defaults?.sampling, ...(Object.fromEntries(given) as TurnSampling) },
  };
}

function requireKnown(ids: readonly string[], domains: readonly Domain[], split: string): void {
  const known = domains.flatMap((domain) => domain.tasks(split).map(({ id }) => id));
  const unknown = ids.find((id) => !known.includes(id));
  if (unknown !== undefined) throw unknownName(unknown, `a task id of split ${split}`, known);
}

/** Names are keys of the journal. */
function refuseTwice(names: readonly string[], what: string): void {
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw new LockstepError("INVALID_ARGUMENT", `Expected each ${what} once but received ${twice} twice`);
}
