/**
 * The public Engine: checks what it is asked, turns prompts into ids and submits requests to the native engine thread
 * through a Connection. Main thread (or a worker's).
 */
import { createHash } from "node:crypto";
import { reading } from "./check.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import { Connection, type RequestEvent } from "./connection.js";
import { placeRanks } from "./devices.js";
import { asLockstepError, invalid, LockstepError } from "./errors.js";
import { resolveModel } from "./hub/resolve.js";
import { loadText, nativeSpec, progressReporter, warnOfConversion } from "./load.js";
import { Finish, native } from "./native.js";
import {
  checkFits,
  checkListed,
  checkLoadOptions,
  checkSampling,
  checkScoredLength,
  checkScoring,
  checkTextFits,
  drawSeed,
  type EngineLimits,
  engineLimits,
  type LoadOptions,
  type Sampling,
  type SamplingContext,
  type SamplingOptions,
  type ScoreOptions,
  type Scoring,
  withBlocks,
} from "./options.js";
import { checkPrompt, type Prompt, type PromptEncoding, requireText, type TextSide } from "./prompt.js";
import { makeScore, type Score } from "./score.js";
import { onAbort } from "./signals.js";
import { type Generation, GenerationStream, type StreamChunk } from "./stream.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";
import { mapInTurns } from "./turns.js";

/** Counts since load. */
export interface EngineStats {
  steps: number;
  generatedTokens: number;
  promptTokens: number;
  /** Tokens that went through the forward pass; after a preemption they go again. */
  computedTokens: number;
  /** Prompt tokens whose K and V came from the prefix cache. */
  cachedTokens: number;
  preemptions: number;
  aborts: number;
  /** Most sequences in one step. */
  maxBatch: number;
  /** Requests waiting for a place. */
  queue: number;
  running: number;
  blocks: { free: number; cached: number; owned: number };
}

/** What a prompt gives with these options: an array where `n` is above 1. Without a known `n`, 1 is taken for granted. */
export type Samples<O extends SamplingOptions> = O extends { n: infer N }
  ? N extends 1 | undefined
    ? Generation
    : number extends N
      ? Generation | Generation[]
      : Generation[]
  : Generation;

export class Engine {
  readonly #checkpoint: Checkpoint;
  #limits: EngineLimits;
  #text: TextSide | undefined;
  readonly #connection: Connection;
  readonly #samplingContext: SamplingContext;
  #closing: Promise<void> | undefined;

  /** Loads a checkpoint: a local directory, or a Hub id ("Qwen/Qwen3-0.6B"), fetched into the Hugging Face cache. */
  static async load(model: string, options?: LoadOptions): Promise<Engine> {
    const checked = reading("Engine.load options", () => checkLoadOptions(options));
    if (typeof model !== "string" || model === "") throw invalid("a directory or a Hub id", "model", model);
    const { signal, revision } = checked;
    const onProgress = progressReporter(checked.onProgress);
    signal?.throwIfAborted();
    const directory = await resolveModel(model, {
      revision,
      signal,
      onProgress: (progress) => onProgress({ phase: "download", ...progress }),
    });
    const checkpoint = await openCheckpoint(directory);
    const totalBytes = checkpoint.files.reduce((sum, file) => sum + file.sizeBytes, 0);
    onProgress({ phase: "checkpoint", loadedBytes: 0, totalBytes });
    signal?.throwIfAborted(); // in that callback
    warnOfConversion(model, checkpoint);
    const engine = new Engine(checkpoint, checked);
    const forget = onAbort(signal, () => engine.close());
    try {
      onProgress({ phase: "weights", loadedBytes: 0, totalBytes });
      const [text] = await Promise.all([loadText(directory), engine.#loaded()]);
      engine.#text = text;
      signal?.throwIfAborted();
      onProgress({ phase: "ready", loadedBytes: totalBytes, totalBytes });
      signal?.throwIfAborted(); // in that callback
    } catch (error) {
      await engine.close();
      throw signal?.aborted ? signal.reason : error;
    } finally {
      forget();
    }
    return engine;
  }

  /** Starts loading the weights; `load` sets #text. */
  private constructor(checkpoint: Checkpoint, options: LoadOptions) {
    const { config, generationConfig, eosTokenIds } = checkpoint;
    this.#checkpoint = checkpoint;
    const placement = placeRanks(options.device, options.tensorParallel, () => native().cudaStatus());
    this.#limits = engineLimits(options, checkpoint, native().blockTokens, placement);
    const { vocabSize } = config;
    // An EOS beyond the vocabulary (of a cut-down checkpoint, say) can never come, so it stops nothing.
    const reachable = eosTokenIds.filter((id) => id < vocabSize);
    this.#samplingContext = { vocabSize, defaults: generationConfig, eosTokenIds: reachable };
    this.#connection = new Connection(nativeSpec(checkpoint, this.#limits, options), this.#limits.maxQueue);
  }

  async #loaded(): Promise<void> {
    await this.#connection.loaded();
    this.#limits = withBlocks(this.#limits, this.#connection.numBlocks, native().blockTokens);
  }

  /** The compute path in use, e.g. "avx512-bf16": bits are equal only within one. */
  get computePath(): string {
    return this.#connection.computePath;
  }

  /** Throws NO_TOKENIZER where the checkpoint has no tokenizer files. */
  get tokenizer(): Tokenizer {
    return requireText(this.#text).tokenizer;
  }

  /** Where the checkpoint lies; of a Hub id, its place in the cache. */
  get directory(): string {
    return this.#checkpoint.directory;
  }

  /** The longest sequence in tokens, prompt and output together. */
  get maxContext(): number {
    return this.#limits.maxContext;
  }

  /** One prompt → Generation; an array → Generation[] in order; `n` above 1 adds one array level. */
  async generate<const O extends SamplingOptions>(prompt: Prompt, sampling?: O): Promise<Samples<O>>;
  async generate<const O extends SamplingOptions>(
    prompts: readonly Prompt[],
    sampling?: O,
  ): Promise<Samples<O>[]>;
  async generate<const O extends SamplingOptions>(
    prompt: Prompt | readonly Prompt[],
    sampling?: O,
  ): Promise<Samples<O> | Samples<O>[]>;
  async generate(
    prompt: Prompt | readonly Prompt[],
    options?: SamplingOptions,
  ): Promise<Generation | Generation[] | (Generation | Generation[])[]> {
    this.#connection.checkUsable();
    // Everything is checked before anything runs.
    const sampling = this.#checkSampling(options);
    if (!isListOfPrompts(prompt)) {
      const samples = await this.#generateSamples([this.#checkPrompt(prompt)], sampling);
      const [first] = samples as [Generation];
      if (first.error && samples.every(({ error }) => error)) throw first.error; // nothing came of this prompt
      return sampling.n === 1 ? first : samples;
    }
    const encodings = await this.#checkPrompts(prompt);
    const generations = await this.#generateSamples(encodings, sampling);
    const { n } = sampling;
    return n === 1 ? generations : encodings.map((_, i) => generations.slice(i * n, (i + 1) * n));
  }

  /** The output as it grows. Leaving the loop aborts the request. */
  stream(prompt: Prompt, options?: SamplingOptions): AsyncIterableIterator<StreamChunk> {
    this.#connection.checkUsable();
    const sampling = this.#checkSampling(options);
    if (sampling.n > 1) throw invalid("1", "n of a stream", sampling.n);
    return this.#startGeneration(this.#checkPrompt(prompt), sampling);
  }

  /** Logprobs of given tokens, from the same forward pass that generates. One input → Score; an array → Score[]. */
  async score(input: Prompt, options?: ScoreOptions): Promise<Score>;
  async score(inputs: readonly Prompt[], options?: ScoreOptions): Promise<Score[]>;
  async score(input: Prompt | readonly Prompt[], options?: ScoreOptions): Promise<Score | Score[]>;
  async score(input: Prompt | readonly Prompt[], options?: ScoreOptions): Promise<Score | Score[]> {
    this.#connection.checkUsable();
    const scoring = reading("score options", () => checkScoring(options, this.#checkpoint.config.vocabSize));
    this.#checkHead();
    const isList = isListOfPrompts(input);
    const encodings = isList ? await this.#checkPrompts(input) : [this.#checkPrompt(input)];
    const inputs = await Promise.all(
      await mapInTurns(encodings, (encoding) => valueOrError(() => this.#encode(encoding, 0))),
    );
    inputs.forEach((tokens, i) => {
      if (tokens instanceof Int32Array)
        inElement(isList ? i : undefined, () => checkScoredLength(tokens.length, scoring));
    });
    const defaults = checkSampling({}, this.#samplingContext);
    const sampling = { ...defaults, cacheSalt: scoring.cacheSalt, maxTokens: 0 };
    const scores = await mapInTurns(inputs, (tokens) => {
      const score = this.#score(tokens, sampling, scoring);
      score.catch(() => {}); // an abort; Promise.all reports it
      return score;
    });
    const results = await Promise.all(scores);
    if (isList) return results;
    const [result] = results as [Score];
    if (result.error) throw result.error;
    return result;
  }

  /** Synchronous; counts since load. */
  stats(): EngineStats {
    const { waiting, freeBlocks, cachedBlocks, ownedBlocks, ...counts } = this.#connection.stats();
    return {
      ...counts,
      queue: waiting,
      blocks: { free: freeBlocks, cached: cachedBlocks, owned: ownedBlocks },
    };
  }

  /** Open requests are rejected with ENGINE_CLOSED; memory and threads are given back. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#connection.close().then(() => this.#text?.encoder.close());
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkHead(): void {
    if (!this.#checkpoint.hasHead)
      throw new LockstepError(
        "NOT_SUPPORTED",
        "This checkpoint has no head: it can embed, but not generate or score",
      );
  }

  #checkSampling(options: SamplingOptions | undefined): Sampling {
    const sampling = reading("sampling options", () => checkSampling(options, this.#samplingContext));
    if (sampling.stop.length > 0) requireText(this.#text);
    const positions = Math.min(sampling.maxTokens, this.#limits.maxContext);
    checkListed(positions, sampling.topLogprobs, "maxTokens or topLogprobs");
    this.#checkHead();
    return sampling;
  }

  #checkPrompt(prompt: Prompt): PromptEncoding {
    return reading("prompt", () => checkPrompt(prompt, this.#text, this.#checkpoint.config.vocabSize));
  }

  #checkPrompts(prompts: readonly Prompt[]): Promise<PromptEncoding[]> {
    return mapInTurns(prompts, (prompt, i) => inElement(i, () => this.#checkPrompt(prompt)));
  }

  /** The n samples of each prompt, one prompt after the other; each draws a seed of its own where none is given. */
  async #generateSamples(encodings: PromptEncoding[], sampling: Sampling): Promise<Generation[]> {
    const { givenSeed, sampleIndex, n } = sampling;
    const requests = encodings.flatMap((encoding) => {
      const seed = givenSeed ?? drawSeed();
      return Array.from({ length: n }, (_, k) => ({ encoding, seed, sampleIndex: sampleIndex + k }));
    });
    const generations = await mapInTurns(requests, ({ encoding, ...sample }) =>
      this.#startGeneration(encoding, { ...sampling, ...sample }).settled(),
    );
    return Promise.all(generations);
  }

  /** The prompt's ids; a text that cannot fit, with `room` tokens behind it, is refused without encoding it. */
  #encode({ encode, text }: PromptEncoding, room: number): Promise<Int32Array> | Int32Array {
    if (text) checkTextFits(text, room, this.#limits);
    return encode();
  }

  /** Encodes and submits; whatever fails from here on ends the stream with that error. */
  #startGeneration(encoding: PromptEncoding, sampling: Sampling): GenerationStream {
    let id: number | undefined; // once submitted
    const stream = new GenerationStream(sampling, this.#text?.tokenizer, kWeightVersion, () => {
      if (id !== undefined) return this.#connection.end(id, { stopped: false });
      forget();
      stream.endEarly();
    });
    const forget = onAbort(sampling.signal, () => stream.abort());
    const submit = (tokens: Int32Array): void => {
      stream.promptTokens = tokens.length;
      checkFits(tokens.length, 1, this.#limits);
      if (sampling.signal?.aborted) stream.abort();
      if (stream.ended) return;
      id = this.#submit(tokens, sampling, sampling.promptLogprobs ? kScoreAll : undefined, (event) => {
        if (stream.take(event)) this.#connection.end(id!, { stopped: true });
        if (event.finish !== Finish.none) forget();
      });
    };
    run(
      () => this.#encode(encoding, 1),
      submit,
      (error) => {
        forget();
        stream.endEarly(error);
      },
    );
    return stream;
  }

  /** Of an input whose encoding failed, too: that is its `error`. Rejects where the signal is aborted. */
  async #score(input: Int32Array | LockstepError, sampling: Sampling, scoring: Scoring): Promise<Score> {
    const { signal } = scoring;
    signal?.throwIfAborted();
    if (!(input instanceof Int32Array)) return makeScore(new Int32Array(0), scoring, { error: input });
    const tokens = input;
    let forget = (): void => {};
    try {
      checkFits(tokens.length, 0, this.#limits);
      const scored = await new Promise<RequestEvent>((resolve, reject) => {
        const id = this.#submit(tokens, sampling, scoring, (event) => {
          if (event.finish === Finish.abort) reject(signal?.reason);
          else if (event.finish !== Finish.none) resolve(event);
        });
        forget = onAbort(signal, () => this.#connection.end(id, { stopped: false }));
      });
      return await makeScore(tokens, scoring, scored);
    } catch (error) {
      if (signal?.aborted || !(error instanceof LockstepError)) throw error;
      return makeScore(tokens, scoring, { error });
    } finally {
      forget();
    }
  }

  #submit(
    tokens: Int32Array,
    sampling: Sampling,
    scoring: Scoring | undefined,
    listener: Parameters<Connection["submit"]>[1],
  ): number {
    const maxTokens = Math.min(sampling.maxTokens, this.#limits.maxContext - tokens.length);
    return this.#connection.submit(
      {
        ...sampling,
        tokens,
        maxTokens,
        prefixRoot: prefixRoot(sampling.cacheSalt),
        ...(scoring && { score: scoring }),
      },
      listener,
    );
  }
}

/** More prompts than a call can mean: a longer array is refused before it is walked. */
const kMaxPrompts = 1_000_000;

/** What `body` refuses, with the place in the array of prompts; without an index, there is none. */
function inElement<T>(index: number | undefined, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (index === undefined || !(error instanceof LockstepError)) throw error;
    throw new LockstepError(error.code, `${error.message} (prompt[${index}])`, { cause: error.cause });
  }
}

function isListOfPrompts(prompt: Prompt | readonly Prompt[]): prompt is readonly Prompt[] {
  const isList = reading("prompt", () => Array.isArray(prompt));
  if (isList && (prompt as readonly Prompt[]).length > kMaxPrompts)
    throw invalid(`at most ${kMaxPrompts} prompts in a call`, "prompt", prompt);
  return isList;
}

/** Of all weights so far: nothing can change them yet. */
const kWeightVersion = 0;

const kScoreAll: Scoring = { from: 0, topLogprobs: 0, tokenIds: new Int32Array(0), cacheSalt: "" };

/** What sharing K and V depends on besides the tokens, as a 128-bit digest. */
function prefixRoot(cacheSalt: string): BigUint64Array {
  const digest = createHash("sha256").update(`${kWeightVersion}\0${cacheSalt}`).digest();
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

/** What `body` gives, or why it gives nothing. */
async function valueOrError<T>(body: () => Promise<T> | T): Promise<T | LockstepError> {
  try {
    return await body();
  } catch (error) {
    return asLockstepError(error);
  }
}
