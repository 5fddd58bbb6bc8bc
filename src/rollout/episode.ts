/**
 * One sample through its turns: the model's, then the environment's, until one of them ends it; then its reward.
 * Main thread, many at a time; the engine batches them. Whatever fails is the sample's `error`, never the run's.
 *
 * The sample is all the state there is, and only grows. So an episode that was interrupted, by abort or with its process,
 * goes on from its sample: the ids behind the last observation are what the model has of its turn.
 */
import { asLockstepError, invalid } from "../errors.js";
import type { Sampling } from "../options.js";
import type { PromptEncoding } from "../prompt.js";
import type { Generation } from "../stream.js";
import { ownTurn } from "../turns.js";
import { callWithin, kAbandoned } from "./callbacks.js";
import { checkObservation, observationIds } from "./observation.js";
import type { RolloutEngine } from "./rollout-engine.js";
import { copyOf, lastTokens, takeAnswer, takeObservation, turnLength } from "./sample.js";
import type { CallbackContext, RewardCallback, RolloutSample, TurnCallback } from "./types.js";

/** How an episode is played, besides what its sample says. */
export interface EpisodePlan {
  /** For a sample that has no tokens yet. */
  encoding?: PromptEncoding | undefined;
  /** With the sample's seed and sampleIndex, and logprobs. */
  sampling: Sampling;
  turn?: TurnCallback | undefined;
  reward?: RewardCallback | undefined;
  callbackTimeoutMs: number;
}

export class Episode {
  /** Changes until the episode has ended. */
  readonly sample: RolloutSample;
  readonly #engine: RolloutEngine;
  readonly #plan: EpisodePlan;
  readonly #controller = new AbortController();
  #playing = true;
  #answer: Generation | undefined; // the last turn
  readonly #state: Record<string, unknown> = {};

  /** `sample`: one without tokens, or one that was interrupted. It is the episode's from now on. */
  constructor(engine: RolloutEngine, plan: EpisodePlan, sample: RolloutSample) {
    this.#engine = engine;
    this.#plan = plan;
    this.sample = sample;
  }

  /** Ends it where it is, unless it is over and waits for its reward. */
  abort(): void {
    if (this.#playing) this.#controller.abort();
  }

  /** Ends it, its reward too: nobody wants the sample. */
  drop(): void {
    this.#controller.abort();
  }

  /** Up to its end: afterwards nothing of it is in the engine. Never rejects. */
  async play(): Promise<void> {
    await this.#guarded(() => this.#play());
    this.#playing = false;
    this.sample.text = this.#responseText();
  }

  /** The reward of an episode that is over. Never rejects. */
  async judge(): Promise<void> {
    const { sample } = this;
    const { reward } = this.#plan;
    if (!reward || sample.error || sample.finishReason === "abort" || sample.reward !== undefined) return;
    await this.#guarded(async () => {
      const value = await this.#call("reward", reward, sample.finishReason);
      if (!Number.isFinite(value)) throw invalid("a finite number", "what reward returned", value);
      sample.reward = value;
    });
  }

  async #play(): Promise<void> {
    const { sample } = this;
    const { turn, encoding } = this.#plan;
    const over = sample.finishReason !== "abort"; // resumed for its reward: its last turn is all that is wanted
    if (sample.tokens.length === 0) sample.tokens = Array.from(await this.#engine.encode(encoding!));
    for (;;) {
      const reason = await this.#modelTurn();
      if (over) return;
      if (reason !== "stop") return this.#end(reason);
      const observation = turn && checkObservation(await this.#call("turn", turn, "stop"));
      if (!observation) return this.#end("stop");
      const ids = await observationIds(this.#engine, observation, {
        lastToken: sample.tokens.at(-1)!,
        room: this.#room - 1, // for the model to answer in
        options: sample.promptOptions,
      });
      if (!ids) return this.#end("length");
      takeObservation(sample, Array.from(ids));
    }
  }

  #end(reason: RolloutSample["finishReason"]): void {
    this.sample.finishReason = reason;
  }

  /** Response tokens that may still come. */
  get #room(): number {
    const { tokens, responseLength, finishReason } = this.sample;
    const { maxResponseTokens = Number.POSITIVE_INFINITY } = this.sample;
    if (finishReason !== "abort") return 0;
    return Math.min(this.#engine.limits.maxContext - tokens.length, maxResponseTokens - responseLength);
  }

  /** The model's turn to its end, from what there is of it. Returns how it ended. */
  async #modelTurn(): Promise<Generation["finishReason"]> {
    const { sample } = this;
    const { sampling } = this.#plan;
    const given = turnLength(sample);
    const prompt = Int32Array.from(sample.tokens.slice(0, sample.tokens.length - given));
    const maxTokens = Math.min(sampling.maxTokens, this.#room + given);
    const answer = await this.#engine.generate(
      prompt,
      { ...sampling, maxTokens, signal: this.#controller.signal },
      given > 0 ? lastTokens(sample, given) : undefined,
    );
    await ownTurn();
    this.#answer = answer;
    takeAnswer(sample, answer, given);
    if (answer.error) throw answer.error;
    return answer.finishReason;
  }

  #responseText(): string {
    const { tokens, responseLength } = this.sample;
    const response = tokens.slice(tokens.length - responseLength);
    return this.#engine.text?.tokenizer.decode(response, { skipSpecialTokens: true }) ?? "";
  }

  /** Shows a callback a copy of the sample. */
  #call<T>(
    name: string,
    callback: (sample: RolloutSample, context: CallbackContext) => T | Promise<T>,
    finishReason: RolloutSample["finishReason"],
  ): Promise<T> {
    const sample = copyOf({ ...this.sample, finishReason, text: this.#responseText() });
    const { text, toolCalls = [] } = this.#answer!;
    return callWithin(name, this.#plan.callbackTimeoutMs, this.#controller.signal, (signal) =>
      callback(sample, { text, toolCalls, state: this.#state, signal }),
    );
  }

  async #guarded(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (thrown) {
      if (thrown === kAbandoned) return;
      const { code, message } = asLockstepError(thrown);
      this.sample.error = { code, message };
    }
  }
}
