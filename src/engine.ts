/**
 * The public Engine: checks what it is asked, and leaves the rest to Requests, which encode and submit, and to the Connection
 * to the native engine thread. Main thread (or a worker's).
 */
import { reading } from "./check.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import { Connection } from "./connection.js";
import {
  EngineControl,
  type PauseOptions,
  type SleepOptions,
  type UpdateOptions,
  type WeightData,
  type WeightInfo,
} from "./control.js";
import { placeRanks } from "./devices.js";
import { checkEmbedding, type EmbedOptions, embeddable } from "./embed.js";
import { ErrorTally, invalid, LockstepError, notConstructible } from "./errors.js";
import { resolveModel } from "./hub/resolve.js";
import { loadText, nativeSpec, progressReporter, warnOfConversion } from "./load.js";
import { native } from "./native.js";
import {
  checkFits,
  checkListed,
  checkLoadOptions,
  checkSampling,
  checkScoredLength,
  checkScoring,
  drawSeed,
  engineLimits,
  type LoadOptions,
  type Sampling,
  type SamplingContext,
  type SamplingOptions,
  type ScoreOptions,
  type Scoring,
  withBlocks,
} from "./options.js";
import type { Profile } from "./profile.js";
import { checkPrompt, type Prompt, type PromptEncoding, requireText } from "./prompt.js";
import { inElement, listOfPrompts, ofElement } from "./prompts.js";
import { Requests } from "./requests.js";
import { resume } from "./rollout/resume.js";
import type { RolloutEngine } from "./rollout/rollout-engine.js";
import { type RolloutRequests, Rollouts } from "./rollout/rollouts.js";
import type { EpisodeOptions, RolloutOptions, RolloutSample } from "./rollout/types.js";
import type { Score } from "./score.js";
import { onAbort } from "./signals.js";
import { type EngineStats, engineStats } from "./stats.js";
import type { Generation, StreamChunk } from "./stream.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";
import { allInTurns, forEachInTurns, mapInTurns } from "./turns.js";
import type { WeightsSource } from "./weights.js";

/** What a prompt gives with these options: an array where `n` is above 1. Without a known `n`, 1 is taken for granted. */
export type Samples<O extends SamplingOptions> = O extends { n: infer N }
  ? N extends 1 | undefined
    ? Generation
    : number extends N
      ? Generation | Generation[]
      : Generation[]
  : Generation;

/** What only Engine.load can pass to the constructor. */
const kFromLoad = Symbol("Engine.load");

export class Engine {
  readonly #checkpoint: Checkpoint;
  readonly #connection: Connection;
  #samplingContext: SamplingContext;
  readonly #requests: Requests;
  readonly #control: EngineControl;
  readonly #rejected = new ErrorTally();
  readonly #profiles: boolean;
  #closing: Promise<void> | undefined;

  /** Loads a checkpoint: a local directory, or a Hub id ("Qwen/Qwen3-0.6B"), fetched into the Hugging Face cache. */
  static async load(model: string, options?: LoadOptions): Promise<Engine> {
    const checked = checkLoadOptions(options);
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
    const engine = new Engine(kFromLoad, checkpoint, checked);
    const forget = onAbort(signal, () => engine.close());
    try {
      onProgress({ phase: "weights", loadedBytes: 0, totalBytes });
      const [text] = await Promise.all([loadText(directory), engine.#loaded()]);
      engine.#requests.text = text;
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

  /** Starts loading the weights; `load` sets #requests.text. */
  private constructor(from: typeof kFromLoad, checkpoint: Checkpoint, options: LoadOptions) {
    if (from !== kFromLoad) throw notConstructible("an engine", "await Engine.load(model)");
    const { config, generationConfig, eosTokenIds } = checkpoint;
    this.#checkpoint = checkpoint;
    this.#profiles = options.profile ?? false;
    const placement = placeRanks(options.device, options.tensorParallel, () => native().cudaStatus());
    const limits = engineLimits(options, checkpoint, native().blockTokens, placement);
    const { vocabSize } = config;
    // An EOS beyond the vocabulary (of a cut-down checkpoint, say) can never come, so it stops nothing.
    const reachable = eosTokenIds.filter((id) => id < vocabSize);
    this.#samplingContext = { vocabSize, defaults: generationConfig, eosTokenIds: reachable };
    this.#connection = new Connection(nativeSpec(checkpoint, limits, options), limits.maxQueue);
    this.#requests = new Requests(this.#connection, limits, this.#rejected);
    this.#control = new EngineControl(this.#connection, checkpoint, options.weights === "copy");
  }

  async #loaded(): Promise<void> {
    await this.#connection.loaded();
    this.#requests.limits = withBlocks(
      this.#requests.limits,
      this.#connection.numBlocks,
      native().blockTokens,
    );
    this.#samplingContext = { ...this.#samplingContext, maxContext: this.#requests.limits.maxContext };
  }

  /** The compute path in use, e.g. "avx512-bf16": bits are equal only within one. */
  get computePath(): string {
    return this.#connection.computePath;
  }

  /** Where the model runs, a name a rank: "cpu" or "cuda:0", "cuda:1", ... */
  get devices(): string[] {
    const { ranks, devices } = this.#requests.limits;
    return devices.length > 0 ? devices.map((index) => `cuda:${index}`) : Array<string>(ranks).fill("cpu");
  }

  /** Throws NO_TOKENIZER where the checkpoint has no tokenizer files. */
  get tokenizer(): Tokenizer {
    return requireText(this.#requests.text).tokenizer;
  }

  /** Where the checkpoint lies; of a Hub id, its place in the cache. */
  get directory(): string {
    return this.#checkpoint.directory;
  }

  /** The longest sequence in tokens, prompt and output together. */
  get maxContext(): number {
    return this.#requests.limits.maxContext;
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
    // Everything is checked before anything runs.
    const sampling = this.#checkSampling(options);
    const prompts = this.#check(() => listOfPrompts(prompt));
    if (!prompts) {
      const encoding = this.#checkPrompt(prompt);
      if (encoding.rendering) await this.#rendered([encoding.rendering]);
      const samples = await this.#generateSamples([encoding], sampling);
      const [first] = samples as [Generation];
      if (first.error && samples.every(({ error }) => error)) throw first.error; // nothing came of this prompt
      return sampling.n === 1 ? first : samples;
    }
    const encodings = await this.#checkPrompts(prompts);
    const generations = await this.#generateSamples(encodings, sampling);
    const { n } = sampling;
    return n === 1 ? generations : mapInTurns(encodings, (_, i) => generations.slice(i * n, (i + 1) * n));
  }

  /** The output as it grows. Leaving the loop aborts the request. */
  stream(prompt: Prompt, options?: SamplingOptions): AsyncIterableIterator<StreamChunk> {
    const sampling = this.#checkSampling(options);
    if (sampling.n > 1) throw this.#rejected.add(invalid("1", "n of a stream", sampling.n));
    return this.#requests.generation(this.#checkPrompt(prompt), sampling);
  }

  /** Logprobs of given tokens, from the same forward pass that generates. One input → Score; an array → Score[]. */
  async score(input: Prompt, options?: ScoreOptions): Promise<Score>;
  async score(inputs: readonly Prompt[], options?: ScoreOptions): Promise<Score[]>;
  async score(input: Prompt | readonly Prompt[], options?: ScoreOptions): Promise<Score | Score[]>;
  async score(input: Prompt | readonly Prompt[], options?: ScoreOptions): Promise<Score | Score[]> {
    const scoring = this.#checkScoring(options);
    const { inList, inputs } = await this.#encoded(input);
    await this.#checkEach(inList, inputs, (tokens) => {
      if (tokens instanceof Int32Array) checkScoredLength(tokens.length, scoring);
    });
    const sampling = this.#noOutput(scoring);
    const scores = await mapInTurns(inputs, (tokens) => {
      const score = this.#requests.score(tokens, sampling, scoring);
      score.catch(() => {}); // an abort; allInTurns reports it
      return score;
    });
    const results = await allInTurns(scores);
    if (inList) return results;
    const [result] = results as [Score];
    if (result.error) throw result.error;
    return result;
  }

  /**
   * The hidden state that stands for an input: [D], or [dimensions]. An array → Float32Array[] in order; where one input
   * fails, the others are ended and the call rejects with its error, which names it.
   */
  async embed(input: Prompt, options?: EmbedOptions): Promise<Float32Array>;
  async embed(inputs: readonly Prompt[], options?: EmbedOptions): Promise<Float32Array[]>;
  async embed(
    input: Prompt | readonly Prompt[],
    options?: EmbedOptions,
  ): Promise<Float32Array | Float32Array[]>;
  async embed(
    input: Prompt | readonly Prompt[],
    options?: EmbedOptions,
  ): Promise<Float32Array | Float32Array[]> {
    const embedding = this.#check(() => {
      this.#connection.checkUsable();
      return checkEmbedding(options, this.#checkpoint.config.hiddenSize);
    });
    const { inList, inputs } = await this.#encoded(input, embeddable(embedding.instruct));
    await this.#checkEach(inList, inputs, (tokens) => {
      if (!(tokens instanceof Int32Array)) throw tokens;
      checkFits(tokens.length, 0, this.#requests.limits);
    });
    const sampling = this.#noOutput(embedding);
    const vectors = await this.#requests.embed(inputs as Int32Array[], sampling, embedding, (i, error) =>
      ofElement(inList ? i : undefined, error),
    );
    return inList ? vectors : vectors[0]!;
  }

  /** Samples of each request, single- or multi-turn, in the order of their completion. Leaving the loop aborts the rest. */
  rollouts(requests: RolloutRequests, options?: RolloutOptions): Rollouts {
    return new Rollouts(this.#forRollouts(), requests, options);
  }

  /** Goes on from a sample that was interrupted, as if it never had been. Resolves with the whole sample. */
  resume(sample: RolloutSample, options?: EpisodeOptions): Promise<RolloutSample> {
    return resume(this.#forRollouts(), sample, options);
  }

  /** Of the weights in use: 0 as loaded. */
  get weightVersion(): number {
    return this.#connection.weightVersion;
  }

  /**
   * Other weights of the same architecture, between two steps and all or nothing: where it rejects, the old ones go on
   * serving. The prefix cache is dropped. The tensors' buffers are the caller's again when the promise settles.
   */
  updateWeights(source: WeightsSource, options?: UpdateOptions): Promise<{ version: number }> {
    return this.#control.updateWeights(source, options);
  }

  /** Nothing is computed from when this resolves until continue(). Requests may be made, aborted and waited for meanwhile. */
  pause(options?: PauseOptions): Promise<void> {
    return this.#control.pause(options);
  }

  /** Ends pause(). */
  continue(): void {
    this.#control.continue();
  }

  /** Frees what the prefix cache holds for no request; what requests are using stays. */
  flushCache(): Promise<void> {
    return this.#control.flushCache();
  }

  /** Every tensor as it is computed with; with a name, that one and its values. */
  weights(): Promise<WeightInfo[]>;
  weights(name: string): Promise<WeightData>;
  weights(name?: string): Promise<WeightInfo[] | WeightData> {
    return name === undefined ? this.#control.weights() : this.#control.weight(name);
  }

  /**
   * Gives memory back: KV cache, workspaces, threads, and the weights unless they are kept. Requests wait, and go on after
   * wake() with the same bits.
   */
  sleep(options?: SleepOptions): Promise<void> {
    return this.#control.sleep(options);
  }

  /** Takes it all again. Where that fails, say because a weight file has changed, the engine still sleeps. */
  wake(): Promise<void> {
    return this.#control.wake();
  }

  /** Synchronous; counts since load. */
  stats(): EngineStats {
    return engineStats(this.#connection, this.#requests, this.#rejected, this.#control.asleep);
  }

  /**
   * Synchronous; sums since load, so that two of them subtracted tell of the steps between. With several ranks, of the
   * first one's device. Throws INVALID_ARGUMENT where the engine was not loaded with `profile: true`.
   */
  profile(): Profile {
    if (!this.#profiles)
      throw new LockstepError(
        "INVALID_ARGUMENT",
        "Expected an engine that was loaded with profile: true for profile()",
      );
    const { steps, busySeconds: seconds, kernels } = this.#connection.stats();
    return { steps, seconds, kernels };
  }

  /** Open requests are rejected with ENGINE_CLOSED; memory and threads are given back. May be called again. */
  close(): Promise<void> {
    this.#control.close();
    this.#closing ??= this.#connection.close().then(async () => {
      await Promise.all([this.#requests.text?.renderer.close(), this.#requests.text?.encoder.close()]);
    });
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

  #forRollouts(): RolloutEngine {
    const { limits, text } = this.#requests;
    return {
      ...{ limits, text, computePath: this.computePath, vocabSize: this.#checkpoint.config.vocabSize },
      check: (checks) => this.#check(checks),
      checkUsable: () => this.#connection.checkUsable(),
      checkSampling: (options) => this.#checkSampling(options as SamplingOptions),
      checkPrompt: (prompt) => this.#checkPrompt(prompt),
      encode: async (encoding) => {
        const tokens = await this.#requests.encoded(encoding);
        if (!(tokens instanceof Int32Array)) throw this.#rejected.add(tokens);
        return tokens;
      },
      generate: (tokens, sampling, given) => {
        const encoding = { encode: () => tokens };
        return this.#requests.generation(encoding, sampling, given).settled();
      },
    };
  }

  /** Runs checks of what a call is given, and counts what they refuse. */
  #check<T>(checks: () => T): T {
    this.#connection.turns.enter();
    try {
      return checks();
    } catch (error) {
      throw this.#rejected.add(error);
    }
  }

  #checkSampling(options: SamplingOptions | undefined): Sampling {
    return this.#check(() => {
      this.#connection.checkUsable();
      const sampling = checkSampling(options, this.#samplingContext);
      if (sampling.stop.length > 0) requireText(this.#requests.text);
      const positions = Math.min(sampling.maxTokens, this.#requests.limits.maxContext);
      checkListed(positions, sampling.topLogprobs, "maxTokens or topLogprobs");
      this.#checkHead();
      return sampling;
    });
  }

  #checkScoring(options: ScoreOptions | undefined): Scoring {
    return this.#check(() => {
      this.#connection.checkUsable();
      const scoring = checkScoring(options, this.#checkpoint.config.vocabSize);
      this.#checkHead();
      return scoring;
    });
  }

  /** The sampling of a request that generates nothing. */
  #noOutput({ cacheSalt }: { cacheSalt: string }): Sampling {
    return { ...checkSampling({}, this.#samplingContext), cacheSalt, maxTokens: 0 };
  }

  #checkPrompt(prompt: unknown, check = checkPrompt): PromptEncoding {
    const { vocabSize } = this.#checkpoint.config;
    const { maxContext } = this.#requests.limits;
    return this.#check(() =>
      reading("prompt", () => check(prompt, this.#requests.text, { vocabSize, maxContext })),
    );
  }

  /** The ids of one input or of each of an array; where encoding failed, why. `check`: what is refused, and how it is encoded. */
  async #encoded(
    input: unknown,
    check = checkPrompt,
  ): Promise<{ inList: boolean; inputs: (Int32Array | LockstepError)[] }> {
    const list = this.#check(() => listOfPrompts(input));
    const encodings = list ? await this.#checkPrompts(list, check) : [this.#checkPrompt(input, check)];
    if (!list) await this.#rendered([encodings[0]?.rendering]);
    const inputs = await mapInTurns(encodings, (encoding) => this.#requests.encoded(encoding));
    return { inList: list !== undefined, inputs: await allInTurns(inputs) };
  }

  /** What is wrong with the ids of one input refuses the call. */
  #checkEach<T>(inList: boolean, inputs: readonly T[], check: (input: T) => void): Promise<void> {
    return forEachInTurns(inputs, (input, i) =>
      this.#check(() => inElement(inList ? i : undefined, () => check(input))),
    );
  }

  async #checkPrompts(prompts: readonly unknown[], check = checkPrompt): Promise<PromptEncoding[]> {
    const encodings = await mapInTurns(prompts, (prompt, i) =>
      inElement(i, () => this.#checkPrompt(prompt, check)),
    );
    const renderings: Promise<unknown>[] = [];
    await forEachInTurns(encodings, ({ rendering }, i) => {
      if (!rendering) return;
      const placed = rendering.catch((error) => {
        throw ofElement(i, error);
      });
      placed.catch(() => {}); // #rendered reports it
      renderings.push(placed);
    });
    await this.#rendered(renderings);
    return encodings;
  }

  /** Waits for conversations that take long to render: what is wrong with one refuses the call. */
  async #rendered(renderings: readonly (Promise<unknown> | undefined)[]): Promise<void> {
    try {
      await Promise.all(renderings);
    } catch (error) {
      throw this.#rejected.add(error);
    }
  }

  /** The n samples of each prompt, one prompt after the other; each draws a seed of its own where none is given. */
  async #generateSamples(encodings: PromptEncoding[], sampling: Sampling): Promise<Generation[]> {
    const generations = await mapInTurns(samplesOf(encodings, sampling), ([encoding, sample]) =>
      this.#requests.generation(encoding, sample).settled(),
    );
    return allInTurns(generations);
  }
}

/** What each request asks for: made one by one, since there may be a million. */
function* samplesOf(
  encodings: readonly PromptEncoding[],
  sampling: Sampling,
): Iterable<[PromptEncoding, Sampling]> {
  for (const encoding of encodings) {
    const seed = sampling.givenSeed ?? drawSeed();
    for (let k = 0; k < sampling.n; ++k)
      yield [encoding, { ...sampling, seed, sampleIndex: sampling.sampleIndex + k }];
  }
}
