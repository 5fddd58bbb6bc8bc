/**
 * From checked prompts to requests of the native engine: encodes, refuses what cannot fit, submits, and gathers what comes
 * back. Knows no defaults and checks no options (options.ts, prompt.ts). Main thread (or a worker's).
 */
import { createHash } from "node:crypto";
import { reading } from "./check.js";
import type { Connection, RequestEvent, RequestListener } from "./connection.js";
import { type Embedding, makeVector, nativeInput } from "./embed.js";
import { asLockstepError, type ErrorTally, LockstepError } from "./errors.js";
import { Finish, type NativeRequest } from "./native.js";
import { checkFits, checkTextFits, type EngineLimits, type Sampling, type Scoring } from "./options.js";
import type { PromptEncoding, TextLength, TextSide } from "./prompt.js";
import { makeScore, type Score } from "./score.js";
import { onAbort } from "./signals.js";
import { type Continuation, GenerationStream } from "./stream.js";
import { allInTurns, mapInTurns } from "./turns.js";

type NativeInput = Pick<NativeRequest, "tokens" | "outputTokens" | "pooling">;

export class Requests {
  limits: EngineLimits;
  /** Where the checkpoint has a tokenizer, once it is loaded. */
  text: TextSide | undefined;
  /** Requests that were aborted before they reached the engine. */
  abortedUnsubmitted = 0;
  readonly #connection: Connection;
  readonly #rejected: ErrorTally;

  /** `rejected` counts what is refused before it reaches the engine. */
  constructor(connection: Connection, limits: EngineLimits, rejected: ErrorTally) {
    this.#connection = connection;
    this.limits = limits;
    this.#rejected = rejected;
  }

  /** Refuses a prompt that cannot fit, with `room` tokens behind it, before it is encoded. */
  #checkLength(length: TextLength | number, room: number): void {
    if (typeof length === "number") checkFits(length, room, this.limits);
    else checkTextFits(length, room, this.limits);
  }

  /**
   * Encodes and submits; whatever fails from here on ends the stream with that error. With `given`, an interrupted sample
   * goes on, or is found to be complete; of its token ids only the native side's checks are made here.
   */
  generation(encoding: PromptEncoding, sampling: Sampling, given?: Continuation): GenerationStream {
    this.#connection.turns.enter();
    let id: number | undefined; // once submitted
    const stream = new GenerationStream(
      sampling,
      this.text?.tokenizer,
      this.#connection.weightVersion,
      () => {
        if (id !== undefined) return this.#connection.end(id, { stopped: false });
        ++this.abortedUnsubmitted;
        forget();
        stream.endEarly();
      },
    );
    const forget = reading("signal", () => onAbort(sampling.signal, () => stream.abort()));
    const ended = (): boolean => {
      if (stream.ended) forget();
      return stream.ended;
    };
    const submit = (tokens: Int32Array): void => {
      if (ended()) return; // aborted while its text was encoded, or given complete
      stream.promptTokens = tokens.length;
      checkFits(tokens.length, 1, this.limits);
      stream.endAtLength(this.#roomFor(tokens, sampling));
      if (sampling.signal?.aborted) stream.abort();
      if (ended()) return;
      const input = { tokens, ...(given && { outputTokens: Int32Array.from(given.tokens) }) };
      const scoring = sampling.promptLogprobs ? kScoreAll : undefined;
      id = this.#submit(input, sampling, scoring, (event) => {
        if (stream.take(event)) this.#connection.end(id!, { stopped: true });
        if (event.finish !== Finish.none) forget();
      });
    };
    run(
      () => {
        if (given) stream.resume(given);
        return encoding.encode((length) => {
          if (typeof length === "number") stream.promptTokens = length;
          this.#checkLength(length, 1);
        });
      },
      submit,
      (error) => {
        forget();
        if (!stream.ended) stream.endEarly(this.#rejected.add(error));
      },
    );
    return stream;
  }

  /** The ids, or why there are none. */
  async encoded(encoding: PromptEncoding): Promise<Int32Array | LockstepError> {
    this.#connection.turns.enter();
    try {
      return await encoding.encode((length) => this.#checkLength(length, 0));
    } catch (error) {
      return asLockstepError(error);
    }
  }

  /** Of an input whose encoding failed, too: that is its `error`. Rejects where the signal is aborted. */
  async score(input: Int32Array | LockstepError, sampling: Sampling, scoring: Scoring): Promise<Score> {
    const { signal } = scoring;
    if (signal?.aborted) ++this.abortedUnsubmitted;
    signal?.throwIfAborted();
    if (!(input instanceof Int32Array)) return makeScore(new Int32Array(0), scoring, this.#failed(input));
    const tokens = input;
    try {
      checkFits(tokens.length, 0, this.limits);
      const scored = await this.#withoutOutput({ tokens }, sampling, scoring, signal);
      return await makeScore(tokens, scoring, scored);
    } catch (error) {
      if (signal?.aborted) throw error;
      return makeScore(tokens, scoring, this.#failed(asLockstepError(error)));
    }
  }

  /**
   * A vector of each input, in order. Rejects where the signal is aborted, with its reason; and with `failure(i, error)`
   * where input i fails: half of an array is of no use, so the others are ended.
   */
  async embed(
    inputs: readonly Int32Array[],
    sampling: Sampling,
    embedding: Embedding,
    failure: (index: number, error: unknown) => unknown,
  ): Promise<Float32Array[]> {
    const { signal } = embedding;
    const ended = new AbortController();
    const forget = reading("signal", () => onAbort(signal, () => ended.abort(signal?.reason)));
    if (signal?.aborted) ended.abort(signal.reason);
    const one = async (tokens: Int32Array, index: number): Promise<Float32Array> => {
      try {
        if (ended.signal.aborted) ++this.abortedUnsubmitted;
        ended.signal.throwIfAborted();
        const input = nativeInput(tokens, embedding);
        const { pooled, error } = await this.#withoutOutput(input, sampling, undefined, ended.signal);
        if (pooled) return makeVector(pooled, embedding);
        ended.abort(failure(index, error));
      } catch (error) {
        if (!ended.signal.aborted) ended.abort(this.#rejected.add(failure(index, asLockstepError(error))));
      }
      throw ended.signal.reason; // of the first abort
    };
    try {
      const vectors = await mapInTurns(inputs, (input, i) => {
        const vector = one(input, i);
        vector.catch(() => {}); // allInTurns reports it
        return vector;
      });
      return await allInTurns(vectors);
    } finally {
      forget();
    }
  }

  /** Submits a request that generates nothing, and waits for its end. Rejects where the signal is aborted, with its reason. */
  async #withoutOutput(
    input: NativeInput,
    sampling: Sampling,
    scoring: Scoring | undefined,
    signal: AbortSignal | undefined,
  ): Promise<RequestEvent> {
    let forget = (): void => {};
    try {
      return await new Promise<RequestEvent>((resolve, reject) => {
        const id = this.#submit(input, sampling, scoring, (event) => {
          if (event.finish === Finish.abort && signal?.aborted) reject(signal.reason);
          else if (event.finish === Finish.abort)
            resolve({ ...event, scored: undefined, error: abortedByCall() });
          else if (event.finish !== Finish.none) resolve(event);
        });
        forget = reading("signal", () => onAbort(signal, () => this.#connection.end(id, { stopped: false })));
      });
    } finally {
      forget();
    }
  }

  /** Without the engine. */
  #failed(error: LockstepError) {
    return { error: this.#rejected.add(error), weightVersion: this.#connection.weightVersion };
  }

  #submit(
    input: NativeInput,
    sampling: Sampling,
    scoring: Scoring | undefined,
    listener: RequestListener,
  ): number {
    return this.#connection.submit(
      {
        ...sampling,
        ...input,
        maxTokens: this.#roomFor(input.tokens, sampling),
        prefixRoot: prefixRoot(sampling.cacheSalt),
        ...(scoring && { score: scoring }),
      },
      listener,
    );
  }

  /** Output tokens behind a prompt, at most. */
  #roomFor(prompt: Int32Array, { maxTokens }: Sampling): number {
    return Math.min(maxTokens, this.limits.maxContext - prompt.length);
  }
}

const kScoreAll: Scoring = { from: 0, topLogprobs: 0, tokenIds: new Int32Array(0), cacheSalt: "" };

/** Of what has no half that could be returned. */
const abortedByCall = (): LockstepError =>
  new LockstepError("ABORTED", "The request was ended by a call with mode 'abort' before it had its result");

/** What sharing K and V depends on besides tokens and weights, as a 128-bit digest. */
function prefixRoot(cacheSalt: string): BigUint64Array {
  const digest = createHash("sha256").update(cacheSalt).digest();
  return new BigUint64Array([digest.readBigUInt64LE(0), digest.readBigUInt64LE(8)]);
}

/** Runs `submit` with the encoded prompt: at once where encoding is, so that requests start in the order of the calls. */
function run(
  encode: () => Promise<Int32Array> | Int32Array,
  submit: (tokens: Int32Array) => void,
  fail: (error: LockstepError) => void,
): void {
  const failWith = (error: unknown): void => fail(asLockstepError(error));
  try {
    const tokens = encode();
    if (tokens instanceof Promise) tokens.then(submit).catch(failWith);
    else submit(tokens);
  } catch (error) {
    failWith(error);
  }
}
