/**
 * What a suite is: tasks, and for each attempt at one an episode that says what the model sees, takes what it writes, and
 * judges the end. Types, and how to tell two of them apart.
 *
 * A domain knows no engine, and nothing here runs anything: agent.ts plays one episode, runner.ts all of them. A domain must
 * give the same episode for the same task, sample, seed and texts (as far as it can: a remote user cannot).
 */
import type { ChatMessage, Generation, SamplingOptions, Tool } from "../index.js";

export interface Domain<Task extends EvalTask = EvalTask> {
  readonly name: string;
  readonly splits: readonly string[];
  /** What the command and runEval() use where nothing else is given. */
  readonly defaults?: { split?: string; maxSteps?: number; sampling?: TurnSampling; concurrency?: number };
  /** In the order of the report. `split` is one of `splits`. */
  tasks(split: string): readonly Task[];
  /** Begins an attempt. What it throws is that attempt's `environment_error`. */
  start(task: Task, attempt: AttemptContext): Episode | Promise<Episode>;
  /**
   * What decides results besides the engine and the sampling: hashes of data and prompts, the user's settings. JSON. It
   * is in the report, and a run is resumed only where it is equal. Not in it: what changes no result, such as a limit on
   * concurrency.
   */
  describe(): Record<string, unknown>;
}

export interface EvalTask {
  readonly id: string;
}

export interface AttemptContext {
  /** Which attempt at the task, from 0: the engine's sampleIndex. */
  sample: number;
  /** In [0, 2^48): of this task, derived from the run's. The engine's seed; for whatever else the episode draws. */
  seed: number;
  /** Steps that the attempt may take; the agent counts them and ends the episode as "truncated". */
  maxSteps: number;
  /** Aborted where the run ends: nothing of this attempt is kept. */
  signal: AbortSignal;
}

/** Sampling of a turn, over the run's. */
export type TurnSampling = Omit<SamplingOptions, "n" | "seed" | "sampleIndex" | "signal">;

export interface Turn {
  /** The whole conversation, as the chat template gets it. */
  conversation: ChatMessage[];
  /** Its tail since the model's last text; all of it in the first turn. What rollouts append. */
  observation: ChatMessage[];
  tools?: Tool[];
  enableThinking?: boolean;
  /** Over the run's sampling, for this turn. */
  sampling?: TurnSampling;
  /** Asks again for an answer that could not be read: no step of its own. */
  repair?: boolean;
}

/** What the model wrote, besides its text. */
export type Answer = Pick<Generation, "finishReason" | "tokens" | "toolCalls">;

export interface Episode {
  /** What the model sees first, or an outcome where it comes to no turn. */
  readonly first: Turn | Outcome;
  /** Takes what the model wrote, as it wrote it. What it throws is the attempt's `environment_error`. */
  step(text: string, answer: Answer): Turn | Outcome | Promise<Turn | Outcome>;
  /** The outcome of an episode that is ended from outside. */
  end(reason: EndReason): Outcome;
}

/** Ended from outside: the engine aborted the request; the prompt does not fit the context; no step is left. */
export type EndReason = "aborted" | "context_overflow" | "truncated";

/** How an attempt ended. `engine_error`: generating failed; `environment_error`: the domain threw. */
export type AttemptStatus =
  | EndReason
  | "completed"
  | "empty_generation"
  | "parse_error"
  | "invalid_respond"
  | "user_error"
  | "replay_mismatch"
  | "environment_error"
  | "engine_error"
  | (string & {});

export interface Outcome {
  status: AttemptStatus;
  success: boolean;
  /** Default: 1 for a success, else 0. */
  reward?: number;
  /** In [0, 1]: how much of the task was done. Default: the reward. */
  partialScore?: number;
  partialComponents?: Record<string, number>;
  /** Default: turns that the model has answered, repairs left out. */
  steps?: number;
  error?: string | null;
  /** What was checked, and what came of it. JSON. */
  rewardInfo?: unknown;
  /** Whatever is counted beside the model's tokens, such as a remote user's tokens and cost. Summed in the report. */
  userUsage?: Record<string, number>;
  /**
   * What happened, as an object of JSON; its keys go into the journal's line. Default: `reset_followup` (the first
   * turn's observation) and `steps`, each with `assistant_text` and `followup` (the next observation).
   */
  transcript?: Record<string, unknown>;
}

/** Throws for what is neither: a domain may be plain JavaScript. */
export function isOutcome(next: Turn | Outcome): next is Outcome {
  if (typeof next === "object" && next !== null) return "status" in next;
  throw new Error(`Expected the episode to give a turn or an outcome but received ${String(next)}`);
}
