/**
 * One attempt at a task: each turn of the episode goes to the engine, and what the model writes goes back, until there is an
 * outcome. Main thread, many attempts at a time: the engine batches them.
 *
 * Whatever one attempt meets becomes its status. Only what says nothing about the attempt is thrown: an engine that cannot
 * go on, and the run's end.
 */
import { isLockstepError } from "../errors.js";
import type { Engine, ErrorCode, Generation, Prompt, SamplingOptions } from "../index.js";
import { onAbort } from "../signals.js";
import {
  type AttemptContext,
  type Domain,
  type Episode,
  type EvalTask,
  isOutcome,
  type Outcome,
  type Turn,
  type TurnSampling,
} from "./domain.js";

/** What an evaluation needs of an Engine; in tests, whatever answers. */
export interface EvalEngine
  extends Partial<Pick<Engine, "computePath" | "devices" | "directory" | "maxContext" | "weightVersion">> {
  /** One Generation: `n` is never given. */
  generate(prompt: Prompt, sampling: SamplingOptions): Promise<Generation | Generation[]>;
}

export interface AttemptResult {
  outcome: Required<Outcome>;
  /** Tokens over all turns: each turn's prompt counts whole, `cachedTokens` of them came from the prefix cache. */
  usage: Generation["usage"];
}

/** Steps of an attempt, at most, where neither caller nor domain says. */
export const kMaxSteps = 100;

/** Errors that say nothing about an attempt: it is left to the next run, and this one ends. */
const kOfEngine: ReadonlySet<unknown> = new Set<ErrorCode>([
  "ENGINE_FAILED",
  "ENGINE_CLOSED",
  "ENGINE_ASLEEP",
  "OUT_OF_MEMORY",
  "QUEUE_FULL",
  "NO_TOKENIZER",
]);

/** Whether it says nothing about the attempt that met it: the agent's engine failed, or the one that plays the user. A server may name its errors as it likes. */
export const isOfEngine = (error: unknown): boolean => isLockstepError(error) && kOfEngine.has(error.code);

/** As an attempt is played: an AttemptContext, and the sampling of its turns. */
export interface AttemptOptions extends AttemptContext {
  sampling: TurnSampling;
}

/**
 * What is not given is the domain's default, sample 0 with seed 0, and no end from outside. Rejects with the signal's reason
 * once that is aborted, and with what ends the engine.
 */
export async function playAttempt<Task extends EvalTask>(
  engine: EvalEngine,
  domain: Domain<Task>,
  task: Task,
  given: Partial<AttemptOptions> = {},
): Promise<AttemptResult> {
  const { maxSteps = kMaxSteps, sampling = {} } = domain.defaults ?? {};
  const unending = new AbortController().signal;
  const options = { sample: 0, seed: 0, maxSteps, sampling, signal: unending, ...given };
  const attempt = new Attempt(engine, options);
  const outcome = await attempt.play(() => domain.start(task, options));
  return { outcome: attempt.complete(outcome), usage: attempt.usage };
}

/** Of the transcript, where the domain has none of its own. */
interface Step {
  assistant_text: string;
  followup?: Turn["observation"];
}

class Attempt {
  readonly usage = { promptTokens: 0, completionTokens: 0, cachedTokens: 0 };
  readonly #engine: EvalEngine;
  readonly #context: AttemptOptions;
  readonly #steps: Step[] = [];
  #first: unknown;
  #taken = 0;

  constructor(engine: EvalEngine, context: AttemptOptions) {
    this.#engine = engine;
    this.#context = context;
  }

  async play(start: () => Episode | Promise<Episode>): Promise<Outcome> {
    try {
      const episode = await this.#untilAborted(start);
      let next = episode.first;
      if (!isOutcome(next)) this.#first = next.observation;
      while (!isOutcome(next)) {
        if (!next.repair && this.#taken === this.#context.maxSteps) return episode.end("truncated");
        const answer = await this.#ask(episode, next);
        if ("status" in answer) return answer;
        if (!next.repair) ++this.#taken;
        const step: Step = { assistant_text: answer.text };
        this.#steps.push(step);
        next = await this.#untilAborted(() => episode.step(answer.text, answer));
        if (!isOutcome(next)) step.followup = next.observation;
      }
      return next;
    } catch (error) {
      if (isFatal(error, this.#context.signal)) throw error;
      return failed("environment_error", error);
    }
  }

  /** What the model wrote, or how the episode ends without it. */
  async #ask(episode: Episode, turn: Turn): Promise<Generation | Outcome> {
    const { conversation: messages, tools, enableThinking } = turn;
    const { sampling, seed, sample, signal } = this.#context;
    try {
      const answer = (await this.#engine.generate(
        { messages, tools, enableThinking },
        { ...sampling, ...turn.sampling, seed, sampleIndex: sample, signal },
      )) as Generation;
      signal.throwIfAborted();
      this.usage.promptTokens += answer.usage.promptTokens;
      this.usage.completionTokens += answer.usage.completionTokens;
      this.usage.cachedTokens += answer.usage.cachedTokens;
      return answer.finishReason === "abort" ? episode.end("aborted") : answer;
    } catch (error) {
      if (codeOf(error) === "PROMPT_TOO_LONG") return episode.end("context_overflow");
      if (isFatal(error, signal)) throw error;
      return failed("engine_error", error);
    }
  }

  /** The domain's own code may never settle: the run's end does not wait for it. */
  async #untilAborted<T>(body: () => T | Promise<T>): Promise<T> {
    const { signal } = this.#context;
    signal.throwIfAborted();
    let forget = () => {};
    const aborted = new Promise<never>((_, reject) => {
      forget = onAbort(signal, () => reject(signal.reason));
    });
    try {
      return await Promise.race([body(), aborted]);
    } finally {
      forget();
    }
  }

  /** With what a domain leaves out. */
  complete(outcome: Outcome): Required<Outcome> {
    const reward = outcome.reward ?? (outcome.success ? 1 : 0);
    return {
      reward,
      partialScore: reward,
      partialComponents: {},
      steps: this.#taken,
      error: null,
      rewardInfo: {},
      userUsage: {},
      transcript: { reset_followup: this.#first ?? [], steps: this.#steps },
      ...present(outcome),
    };
  }
}

const present = (outcome: Outcome): Outcome =>
  Object.fromEntries(
    Object.entries(outcome).filter(([, value]) => value !== undefined),
  ) as unknown as Outcome;

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

const isFatal = (error: unknown, signal: AbortSignal): boolean => signal.aborted || isOfEngine(error);

const failed = (status: string, error: unknown): Outcome => ({
  status,
  success: false,
  error: error instanceof Error ? error.message : String(error),
});
