/**
 * An evaluation: all attempts at all tasks at once, so that the engine always has a batch, with a journal of those that are
 * finished, and the report at the end. Main thread.
 *
 * One attempt's failure is its status and ends nothing. What ends the run (the caller's signal, an engine that has failed, a
 * disk that is full) loses nothing that was finished: the same call with the same journal goes on.
 */
import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { replaceFile, type Settings } from "../line-file.js";
import { type AttemptResult, type EvalEngine, playAttempt } from "./agent.js";
import type { Domain, EvalTask, TurnSampling } from "./domain.js";
import { type AttemptRecord, EvalJournal, type JournalLine, keyOf, recordOf } from "./journal.js";
import { type EvalOptions, type Plan, type PlannedDomain, planOf } from "./options.js";
import { type EvalReport, makeReport, type RunFacts } from "./report.js";

/**
 * Plays `numSamples` attempts at each task and reports them. Results do not depend on `concurrency`, on the order in which
 * attempts end, or on how often the run was ended and begun again. Throws INVALID_ARGUMENT before anything runs; rejects
 * with the signal's reason, the engine's error or FILE_ERROR, and then finished attempts are in the journal.
 */
export async function runEval(
  engine: EvalEngine,
  domains: Domain | readonly Domain[],
  options?: EvalOptions,
): Promise<EvalReport> {
  const plan = planOf([domains].flat() as Domain[], options);
  for (const { sampling } of plan.domains) await checkSampling(engine, sampling);
  const run = new Run(engine, plan);
  await run.play();
  const report = run.report();
  const { output } = plan.options;
  if (output !== undefined) await replaceFile(output, [`${JSON.stringify(report, undefined, 2)}\n`]);
  return report;
}

/** An empty list of prompts: an Engine checks the options and runs nothing. */
async function checkSampling(engine: EvalEngine, sampling: TurnSampling): Promise<void> {
  await engine.generate([] as never, sampling);
}

interface Job extends Pick<PlannedDomain, "domain" | "maxSteps" | "sampling"> {
  task: EvalTask;
  sample: number;
}

class Run {
  readonly #engine: EvalEngine;
  readonly #plan: Plan;
  readonly #settings: Settings;
  readonly #jobs: readonly Job[]; // in the report's order
  readonly #records = new Map<string, AttemptRecord>();
  readonly #started = new Date();
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #journal: EvalJournal | undefined;
  #kept = 0;
  #succeeded = 0;

  constructor(engine: EvalEngine, plan: Plan) {
    this.#engine = engine;
    this.#plan = plan;
    this.#settings = settingsOf(engine, plan);
    this.#jobs = plan.domains.flatMap(({ tasks, ...domain }) =>
      tasks.flatMap((task) => samplesOf(plan).map((sample) => ({ ...domain, task, sample }))),
    );
    const { signal } = plan.options;
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
    setMaxListeners(0, this.#signal); // some for each attempt
  }

  async play(): Promise<void> {
    const { journal, resumeAnyway } = this.#plan.options;
    if (journal !== undefined) this.#journal = await EvalJournal.open(journal, this.#settings, resumeAnyway);
    try {
      const missing = this.#jobs.filter((job) => !this.#keepEarlier(job));
      this.#kept = this.#records.size;
      this.#showProgress();
      const queue = missing.values();
      const player = async () => {
        for (const job of queue) await this.#play(job);
      };
      const players = Array.from({ length: Math.min(this.#plan.concurrency, missing.length) }, player);
      await Promise.all(players.map((one) => one.catch((error) => this.#stop.abort(error))));
      this.#signal.throwIfAborted();
    } finally {
      await this.#journal?.close();
    }
  }

  /** Whether an earlier session has finished it. */
  #keepEarlier(job: Job): boolean {
    const key = keyOfJob(job);
    const record = this.#journal?.earlier.get(key);
    if (record) this.#take(key, record);
    return record !== undefined;
  }

  async #play(job: Job): Promise<void> {
    const { domain, task, sample, maxSteps, sampling } = job;
    const start = performance.now();
    const seed = seedOf(this.#plan.seed, domain.name, task.id);
    const context = { sample, seed, maxSteps, sampling, signal: this.#signal };
    const result = await playAttempt(this.#engine, domain, task, context);
    const line = lineOf(job, result, (performance.now() - start) / 1000);
    await this.#journal?.append(line);
    const read = JSON.parse(line) as JournalLine; // as another session would find it
    this.#take(keyOfJob(job), recordOf(read));
    this.#plan.options.onAttempt?.(read);
    this.#showProgress();
  }

  #take(key: string, record: AttemptRecord): void {
    this.#records.set(key, record);
    if (record.attempt.success) ++this.#succeeded;
  }

  #showProgress(): void {
    const [total, finished] = [this.#jobs.length, this.#records.size];
    this.#plan.options.onProgress?.({ total, finished, succeeded: this.#succeeded });
  }

  report(): EvalReport {
    const { options, split, numSamples, domains } = this.#plan;
    const attemptsAt = (domain: Domain, task: EvalTask) =>
      samplesOf(this.#plan).map((sample) => this.#records.get(keyOfJob({ domain, task, sample }))!.attempt);
    return makeReport({
      ...{ split, k: numSamples, settings: this.#settings, mixed: this.#journal?.mixed ?? [] },
      checkpoint: options.model ?? this.#engine.directory ?? "",
      domains: domains.map(({ domain }) => domain.name),
      tasks: domains.flatMap(({ domain, tasks }) =>
        tasks.map((task, taskIndex) => ({
          ...{ domain: domain.name, taskIndex, taskId: task.id, attempts: attemptsAt(domain, task) },
        })),
      ),
      run: this.#facts(),
    });
  }

  #facts(): RunFacts {
    const finished = new Date();
    const records = [...this.#records.values()];
    const sum = (of: (record: AttemptRecord) => number) => records.reduce((total, one) => total + of(one), 0);
    const cached = sum(({ run }) => run.cached_tokens);
    const prompts = sum(({ attempt }) => attempt.prompt_tokens);
    const { options, concurrency } = this.#plan;
    return {
      started: this.#started.toISOString(),
      finished: finished.toISOString(),
      seconds: (finished.getTime() - this.#started.getTime()) / 1000,
      resumes: this.#journal?.sessions ?? 0,
      attempts_kept: this.#kept,
      attempt_seconds: sum(({ run }) => run.seconds),
      cached_tokens: cached,
      prefix_cache_hit_rate: cached / Math.max(1, prompts),
      ...{ journal: options.journal, concurrency, devices: this.#engine.devices },
    };
  }
}

const samplesOf = ({ numSamples }: Plan): number[] =>
  Array.from({ length: numSamples }, (_, sample) => sample);

const keyOfJob = ({ domain, task, sample }: Pick<Job, "domain" | "task" | "sample">): string =>
  keyOf({ domain: domain.name, task_id: task.id, sample });

/** Of a task, whichever others are played: in [0, 2^48). */
function seedOf(seed: number, domain: string, taskId: string): number {
  return createHash("sha256")
    .update(JSON.stringify([seed, domain, taskId]))
    .digest()
    .readUIntBE(0, 6);
}

/** An outcome that is none, or that JSON cannot write, fails the attempt, not the run. */
function lineOf(job: Job, result: AttemptResult, seconds: number): string {
  try {
    checkOutcome(result.outcome);
    return JSON.stringify(lineObject(job, result, seconds));
  } catch (error) {
    const failed = { status: "environment_error", success: false, error: String(error), reward: 0 };
    const empty = { partialScore: 0, partialComponents: {}, rewardInfo: {}, userUsage: {}, transcript: {} };
    const outcome = { ...failed, ...empty, steps: result.outcome.steps };
    return JSON.stringify(lineObject(job, { ...result, outcome }, seconds));
  }
}

/** The domain may be plain JavaScript. */
function checkOutcome({ status, success, reward, partialScore, transcript }: AttemptResult["outcome"]): void {
  const wrong = (what: string, value: unknown) =>
    new Error(`Expected an outcome with ${what} but received ${JSON.stringify(value) ?? String(value)}`);
  if (typeof status !== "string") throw wrong("a string as its status", status);
  if (typeof success !== "boolean") throw wrong("a boolean as its success", success);
  if (!Number.isFinite(reward)) throw wrong("a finite number as its reward", reward);
  if (!Number.isFinite(partialScore)) throw wrong("a finite number as its partialScore", partialScore);
  if (typeof transcript !== "object") throw wrong("an object as its transcript", transcript);
}

function lineObject(
  { domain, task, sample }: Job,
  { outcome, usage }: AttemptResult,
  seconds: number,
): JournalLine {
  const ours: AttemptRecord = {
    domain: domain.name,
    task_id: task.id,
    sample,
    attempt: {
      success: outcome.success,
      reward: outcome.reward,
      partial_score: outcome.partialScore,
      partial_components: outcome.partialComponents,
      steps: outcome.steps,
      status: outcome.status,
      error: outcome.error,
      reward_info: outcome.rewardInfo,
      prompt_tokens: usage.promptTokens,
      completion_tokens: usage.completionTokens,
      user_usage: outcome.userUsage,
    },
    run: { seconds, cached_tokens: usage.cachedTokens },
  };
  return { ...ours, ...outcome.transcript, ...ours };
}

/** All that decides the results: a journal with other settings is another run's. */
function settingsOf(engine: EvalEngine, { options, split, numSamples, seed, domains }: Plan): Settings {
  const { taskIds, maxTasksPerDomain, checkpoint } = options;
  const settings = {
    lockstep: kVersion,
    ...{ checkpoint, compute_path: engine.computePath, max_context: engine.maxContext },
    weight_version: engine.weightVersion,
    ...{ task_split: split, task_ids: taskIds, max_tasks_per_domain: maxTasksPerDomain },
    ...{ num_samples: numSamples, seed },
    domains: Object.fromEntries(
      domains.map(({ domain, sampling, maxSteps }) => [
        domain.name,
        { ...domain.describe(), sampling, max_steps: maxSteps },
      ]),
    ),
  };
  return JSON.parse(JSON.stringify(settings)) as Settings;
}

const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
const { version: kVersion } = JSON.parse(manifest) as { version: string };
