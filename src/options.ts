/**
 * The options of Engine.load, generate/stream and score: their types, their checks and their defaults. Everything is
 * decided here, before anything native runs; the engine below knows no defaults. Pure.
 */
import { randomInt } from "node:crypto";
import { types } from "node:util";
import {
  abortSignal,
  boolean,
  type Check,
  callback,
  checkOptions,
  integer,
  isPlainObject,
  number,
  oneOf,
  type Schema,
  string,
  text,
  tokenIds,
} from "./check.js";
import type { Checkpoint } from "./checkpoint/checkpoint.js";
import type { GenerationConfig } from "./checkpoint/generation-config.js";
import { type DeviceOption, deviceOption, type Placement } from "./devices.js";
import { invalid, LockstepError } from "./errors.js";
import { availableMemoryBytes, defaultThreads, totalMemoryBytes } from "./host.js";
import type { NativeSampling } from "./native.js";
import { checkStopStrings } from "./tokenizer/stop-strings.js";

const kMaxInt32 = 2 ** 31 - 1;
const kMaxUint32 = 2 ** 32 - 1;

export interface LoadProgress {
  /** "download" comes for Hub ids only, and counts the bytes of the files that the cache does not have yet. */
  phase: "download" | "checkpoint" | "weights" | "ready";
  /** The file being downloaded. */
  file?: string;
  loadedBytes: number;
  totalBytes: number;
}

export interface LoadOptions {
  /**
   * Where the model runs. "auto" = CUDA where it can be used (see `lockstep doctor`), else the CPU; "cuda" = the first
   * `tensorParallel` devices; an array names one a rank, and may name one twice. Default "auto".
   */
  device?: DeviceOption | undefined;
  /** Ranks, each with its share of the heads, of the MLP and of the threads. Must divide R_max (see docs/numerics.md). Default 1. */
  tensorParallel?: number | undefined;
  /** GPU only: share of a device's free memory for weights, workspaces and KV cache. No effect on the CPU. Default 0.7. */
  memoryFraction?: number | undefined;
  /** Tokens the KV cache holds. Default on the CPU min(maxSequences × maxContext, 25 % of available memory); on a GPU what memoryFraction leaves. */
  kvCacheTokens?: number | undefined;
  /** Longest sequence in tokens, prompt and output. Default the checkpoint's, cut to the KV cache. */
  maxContext?: number | undefined;
  /** Tokens in one step, at most: the size of a prefill chunk. Default 512. */
  maxBatchTokens?: number | undefined;
  /** Sequences running at the same time, at most. Default 256. */
  maxSequences?: number | undefined;
  /** Compute threads in all. Default: physical cores, no more than the container's quota. */
  threads?: number | undefined;
  /** Take over K and V of prompts seen before. Never changes a bit. Default true. */
  prefixCache?: boolean | undefined;
  /** Requests waiting or running at once, at most; a further one is refused. Default 65,536. */
  maxQueue?: number | undefined;
  /** "map": BF16 weights are used where they lie in the mapped files; "copy": copied into memory. Default "map". */
  weights?: "map" | "copy" | undefined;
  /** Time every kernel: `engine.profile()`. On a GPU they then run one by one, so steps take longer; no bit changes. Default false. */
  profile?: boolean | undefined;
  /**
   * For a checkpoint that overflows: NON_FINITE_LOGITS names the layer, and the position, in which NaN or infinity first
   * showed. Slow, and without prefix cache; changes no bit. Default false.
   */
  debug?: boolean | undefined;
  /** Of a Hub id: branch, tag or commit. A commit in the cache needs no network. Default "main". */
  revision?: string | undefined;
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const kLoadSchema: Schema<LoadOptions> = {
  device: deviceOption,
  tensorParallel: integer(1, 1024),
  memoryFraction: number(0, 1, { above: true }),
  kvCacheTokens: integer(1, kMaxInt32),
  maxContext: integer(1, kMaxInt32),
  maxBatchTokens: integer(1, 65536),
  maxSequences: integer(1, 65536),
  threads: integer(1, 1024),
  prefixCache: boolean,
  maxQueue: integer(1, kMaxInt32),
  weights: oneOf("map", "copy"),
  profile: boolean,
  debug: boolean,
  revision: string,
  onProgress: callback(),
  signal: abortSignal,
};
const kLaterLoadOptions = ["speculation"];

export const checkLoadOptions = (options: unknown): LoadOptions =>
  checkOptions(options, "Engine.load options", kLoadSchema, kLaterLoadOptions);

/** The sizes an engine works with, after defaults. */
export interface EngineLimits extends Placement {
  threads: number;
  /** 0, on devices only: known once loaded. */
  numBlocks: number;
  maxContext: number;
  maxBatchTokens: number;
  maxSequences: number;
  maxQueue: number;
}

/**
 * R_max: the largest tensor-parallel degree, and into how many parts a row-parallel layer sums K. From config.json alone.
 * The same rule as ModelConfig::max_ranks in native/checkpoint/weights.h.
 */
export function maxRanks({ numHeads, numKvHeads, intermediateSize }: Checkpoint["config"]): number {
  return [numHeads, numKvHeads, intermediateSize].every((size) => size % 2 === 0) ? 2 : 1;
}

/** Defaults that depend on checkpoint and machine. blockTokens: B. */
export function engineLimits(
  options: LoadOptions,
  { config }: Checkpoint,
  blockTokens: number,
  { ranks, devices }: Placement,
): EngineLimits {
  if (maxRanks(config) % ranks !== 0)
    throw invalid(
      `a divisor of R_max = ${maxRanks(config)} (2 where the numbers of heads, of key-value heads and the MLP's width are even; ` +
        `here ${config.numHeads}, ${config.numKvHeads} and ${config.intermediateSize})`,
      "tensorParallel",
      ranks,
    );
  const maxSequences = options.maxSequences ?? 256;
  const wantedContext = Math.min(options.maxContext ?? config.maxContext, config.maxContext);
  if (options.maxContext !== undefined && options.maxContext > config.maxContext)
    throw invalid(
      `at most the checkpoint's context of ${config.maxContext} tokens`,
      "maxContext",
      options.maxContext,
    );
  const shared = {
    ranks,
    devices,
    threads: Math.max(ranks, options.threads ?? defaultThreads()),
    maxBatchTokens: options.maxBatchTokens ?? 512,
    maxSequences,
    maxQueue: options.maxQueue ?? 65_536,
  };
  if (devices.length > 0) {
    const numBlocks = Math.ceil((options.kvCacheTokens ?? 0) / blockTokens);
    return withBlocks({ ...shared, numBlocks, maxContext: wantedContext }, numBlocks, blockTokens);
  }
  const bytesPerToken = 2 * config.numLayers * config.numKvHeads * config.headDim * 2; // K and V, BF16
  const affordable = Math.floor((0.25 * availableMemoryBytes()) / bytesPerToken);
  const kvCacheTokens =
    options.kvCacheTokens ?? Math.min(maxSequences * wantedContext, affordable, kMaxInt32);
  const totalBytes = totalMemoryBytes();
  if (kvCacheTokens * bytesPerToken > totalBytes)
    throw new LockstepError(
      "OUT_OF_MEMORY",
      `A KV cache of ${kvCacheTokens} tokens takes ${kvCacheTokens * bytesPerToken} bytes, but there are ${totalBytes} here: lower kvCacheTokens`,
    );
  const numBlocks = Math.max(1, Math.ceil(kvCacheTokens / blockTokens));
  return withBlocks({ ...shared, numBlocks, maxContext: wantedContext }, numBlocks, blockTokens);
}

/** With a KV cache of so many blocks (0: not known yet): the context is cut to it. */
export function withBlocks(limits: EngineLimits, numBlocks: number, blockTokens: number): EngineLimits {
  if (numBlocks === 0) return limits;
  return { ...limits, numBlocks, maxContext: Math.min(limits.maxContext, numBlocks * blockTokens) };
}

export interface SamplingOptions {
  /** Output tokens, at most. Default: the rest of the context; with topLogprobs, 4,000,000 / topLogprobs if that is less. */
  maxTokens?: number | undefined;
  /** Output tokens before anything (EOS, stop ids and strings) may stop it. Default 0. */
  minTokens?: number | undefined;
  /** 0 = greedy, whatever topK and topP say. Default: generation_config.json's, else 1. */
  temperature?: number | undefined;
  /** Keep the k most likely tokens; 0 = off. Default: generation_config.json's, else off. */
  topK?: number | undefined;
  /** Keep the most likely tokens whose probabilities before them sum to less than this. Default: as topK; 1 = off. */
  topP?: number | undefined;
  /** Keep tokens at least this likely, relative to the likeliest. Default: as topK; 0 = off. */
  minP?: number | undefined;
  /** Logits of tokens in prompt or output are divided (if positive) or multiplied by it. Default: as topK; 1 = off. */
  repetitionPenalty?: number | undefined;
  /** Subtracted from the logits of tokens in the output. Default 0. */
  presencePenalty?: number | undefined;
  /** Subtracted as often as the token stands in the output. Default 0. */
  frequencyPenalty?: number | undefined;
  /** Added to logits, by token id; -Infinity bans. */
  logitBias?: LogitBias | undefined;
  /** [0, 2^53). Default: one is drawn and reported. */
  seed?: number | undefined;
  /** Samples of each prompt, with sampleIndex, sampleIndex + 1, ...; above 1 the result gains an array level. Default 1. */
  n?: number | undefined;
  /** Which of the seed's streams. Default 0. */
  sampleIndex?: number | undefined;
  /** Texts that end the output. */
  stop?: string | string[] | undefined;
  /** Token ids that end the output, besides EOS. */
  stopTokenIds?: ArrayLike<number> | undefined;
  /** Keep in `text` what ended the output, special tokens apart. Default false. */
  includeStop?: boolean | undefined;
  /** Go on after EOS. Default false. */
  ignoreEos?: boolean | undefined;
  /** Report the logprobs of the output tokens. Default false. */
  logprobs?: boolean | undefined;
  /** Report this many of the most likely tokens at each position. Default 0. */
  topLogprobs?: number | undefined;
  /** Report which ids topK, topP and minP left at each position; one of them, or temperature 0, must be given. Default false. */
  keptTokenIds?: boolean | undefined;
  /** Report the logprobs of the prompt's tokens. Default false. */
  promptLogprobs?: boolean | undefined;
  /** Output tokens to take instead of sampling, from the first on; sampling goes on behind them. */
  forcedTokens?: ArrayLike<number> | undefined;
  /** Prompts share K and V only with prompts of the same salt. Default "". */
  cacheSalt?: string | undefined;
  signal?: AbortSignal | undefined;
}

export type LogitBias = Readonly<Record<string, number>> | ReadonlyMap<number, number>;

/** SamplingOptions with everything decided. */
export interface Sampling extends NativeSampling {
  n: number;
  stop: string[];
  includeStop: boolean;
  promptLogprobs: boolean;
  cacheSalt: string;
  /** The caller's; without it `seed` was drawn. */
  givenSeed?: number;
  signal?: AbortSignal;
}

/** A seed for a request that was given none. */
export const drawSeed = (): number => randomInt(2 ** 48 - 1);

const stopStrings: Check<string | string[]> = (value) =>
  checkStopStrings(typeof value === "string" ? [value] : value);

/** A key of an object as the token id that it writes out; anything else stays a string, to be refused. */
const idOf = (key: string): number | string => (/^(0|[1-9]\d*)$/.test(key) ? Number(key) : key);

/** Token ids and what is added to their logits. */
function logitBias(vocabSize: number): Check<LogitBias> {
  return (value, where) => {
    const isMap = types.isMap(value); // of this realm or another
    if (!isMap && !isPlainObject(value))
      throw invalid("an object or a Map of token ids to numbers", where, value);
    const entries: [unknown, unknown][] = isMap
      ? [...Map.prototype.entries.call(value)]
      : Object.entries(value).map(([key, bias]) => [idOf(key), bias]);
    tokenIds(vocabSize)(
      entries.map(([id]) => id),
      `${where}'s ids`,
    );
    for (const [id, bias] of entries)
      if (
        typeof bias !== "number" ||
        Number.isNaN(bias) ||
        bias > kMaxBias ||
        (bias < -kMaxBias && bias !== -Infinity)
      )
        throw invalid(`a number in [-${kMaxBias}, ${kMaxBias}] or -Infinity`, `${where}[${id}]`, bias);
    return new Map(entries as [number, number][]);
  };
}
const kMaxBias = 1e6;

function samplingSchema({ vocabSize, maxContext }: SamplingContext): Schema<SamplingOptions> {
  return {
    maxTokens: integer(1, kMaxInt32),
    minTokens: integer(0, kMaxInt32),
    temperature: number(0, 2, { note: "0 = greedy" }),
    topK: integer(0, kMaxInt32),
    topP: number(0, 1, { above: true }),
    minP: number(0, 1),
    repetitionPenalty: number(0, 100, { above: true }),
    presencePenalty: number(-100, 100),
    frequencyPenalty: number(-100, 100),
    logitBias: logitBias(vocabSize),
    n: integer(1, 65536),
    seed: integer(0, Number.MAX_SAFE_INTEGER),
    sampleIndex: integer(0, kMaxUint32),
    stop: stopStrings,
    stopTokenIds: tokenIds(vocabSize, vocabSize), // more would repeat some
    includeStop: boolean,
    ignoreEos: boolean,
    logprobs: boolean,
    topLogprobs: integer(0, 1024),
    keptTokenIds: boolean,
    promptLogprobs: boolean,
    forcedTokens: tokenIds(vocabSize, maxContext),
    cacheSalt: text,
    signal: abortSignal,
  };
}

/** Each once. */
function stopIds(eosTokenIds: readonly number[], given: Int32Array = new Int32Array(0)): Int32Array {
  const ids = new Int32Array(eosTokenIds.length + given.length);
  ids.set(eosTokenIds);
  ids.set(given, eosTokenIds.length);
  ids.sort();
  return ids.filter((id, i) => id !== ids[i - 1]);
}

/** What sampling options are decided with. */
export interface SamplingContext {
  vocabSize: number;
  /** Undefined where there is no engine. */
  maxContext?: number;
  defaults: GenerationConfig;
  eosTokenIds: readonly number[];
}

export function checkSampling(options: unknown, context: SamplingContext): Sampling {
  const { vocabSize, defaults, eosTokenIds } = context;
  const given = checkOptions(options, "sampling options", samplingSchema(context));
  const { n = 1, sampleIndex = 0, minTokens = 0 } = given;
  const { maxTokens = given.topLogprobs ? Math.floor(kMaxListed / given.topLogprobs) : kMaxInt32 } = given;
  if (sampleIndex + n - 1 > kMaxUint32)
    throw invalid(`at most ${kMaxUint32} for sampleIndex + n - 1`, "n", n);
  if (minTokens > maxTokens) throw invalid(`at most maxTokens (${maxTokens})`, "minTokens", minTokens);
  const filters = {
    temperature: given.temperature ?? defaults.temperature ?? 1,
    topK: given.topK ?? defaults.topK ?? 0,
    topP: given.topP ?? defaults.topP ?? 1,
    minP: given.minP ?? defaults.minP ?? 0,
  };
  if (given.keptTokenIds) requireFilter(filters, vocabSize);
  const bias = (given.logitBias as Map<number, number> | undefined) ?? new Map<number, number>();
  return {
    maxTokens,
    minTokens,
    ...filters,
    repetitionPenalty: given.repetitionPenalty ?? defaults.repetitionPenalty ?? 1,
    presencePenalty: given.presencePenalty ?? 0,
    frequencyPenalty: given.frequencyPenalty ?? 0,
    biasTokens: Int32Array.from(bias.keys()),
    biasValues: Float32Array.from(bias.values()),
    n,
    seed: given.seed ?? drawSeed(),
    givenSeed: given.seed,
    sampleIndex,
    stop: (given.stop as string[] | undefined) ?? [],
    stopTokenIds: stopIds(given.ignoreEos ? [] : eosTokenIds, given.stopTokenIds as Int32Array | undefined),
    includeStop: given.includeStop ?? false,
    logprobs: given.logprobs ?? false,
    topLogprobs: Math.min(given.topLogprobs ?? 0, vocabSize),
    keptTokenIds: given.keptTokenIds ?? false,
    promptLogprobs: given.promptLogprobs ?? false,
    forcedTokens: (given.forcedTokens as Int32Array | undefined) ?? new Int32Array(0),
    cacheSalt: given.cacheSalt ?? "",
    ...(given.signal && { signal: given.signal }),
  };
}

/** Refuses keptTokenIds where every token is kept. The native side works in float32: topP = 1 - 1e-9 is off there. */
function requireFilter(
  { temperature, topK, topP, minP }: Pick<NativeSampling, "temperature" | "topK" | "topP" | "minP">,
  vocabSize: number,
): void {
  const kept = topK > 0 && topK < vocabSize;
  if (temperature === 0 || kept || Math.fround(topP) < 1 || Math.fround(minP) > 0) return;
  throw new LockstepError(
    "INVALID_ARGUMENT",
    "Expected topK, topP, minP or temperature 0 with keptTokenIds but received none of them: " +
      `every token of the vocabulary (${vocabSize}) would be kept at each position`,
  );
}

export interface ScoreOptions {
  /** Report this many of the most likely tokens at each position. Default 0. */
  topLogprobs?: number | undefined;
  /** Report the logprobs of these tokens at each position. */
  tokenIds?: ArrayLike<number> | undefined;
  /** First position scored. Default 0. */
  from?: number | undefined;
  /** As for sampling. Default "". */
  cacheSalt?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface Scoring {
  topLogprobs: number;
  tokenIds: Int32Array;
  from: number;
  cacheSalt: string;
  signal?: AbortSignal;
}

export function checkScoring(options: unknown, vocabSize: number): Scoring {
  const schema: Schema<ScoreOptions> = {
    topLogprobs: integer(0, 1024),
    tokenIds: tokenIds(vocabSize, kMaxListed),
    from: integer(0, kMaxInt32),
    cacheSalt: text,
    signal: abortSignal,
  };
  const given = checkOptions(options, "score options", schema);
  return {
    topLogprobs: Math.min(given.topLogprobs ?? 0, vocabSize),
    tokenIds: Int32Array.from(given.tokenIds ?? []),
    from: given.from ?? 0,
    cacheSalt: given.cacheSalt ?? "",
    ...(given.signal && { signal: given.signal }),
  };
}

/** Of { token, logprob } in one result: 67 bytes each (Node 20, 2026-11), so at most 270 MB of the host's heap. */
const kMaxListed = 4_000_000;

/** Refuses lists of logprobs that are too long for one result, with the numbers. `lower`: the options to blame. */
export function checkListed(positions: number, perPosition: number, lower: string): void {
  if (positions * perPosition <= kMaxListed) return;
  throw new LockstepError(
    "INVALID_ARGUMENT",
    `Expected at most ${kMaxListed} listed logprobs in one result but ${positions} positions with ${perPosition} each ` +
      `make ${positions * perPosition}: lower ${lower}`,
  );
}

/** Refuses what an input's length rules out: a `from` behind its end, and lists that are too long. */
export function checkScoredLength(length: number, { from, topLogprobs, tokenIds }: Scoring): void {
  if (from > length) throw invalid(`at most the input's length of ${length} tokens`, "from", from);
  checkListed(
    length - from,
    topLogprobs + tokenIds.length,
    "topLogprobs or the number of tokenIds, or raise from",
  );
}

/** Refuses a prompt that can never run, with the numbers. `room`: tokens that must follow it (1 to generate). */
export function checkFits(promptTokens: number, room: number, limits: EngineLimits): void {
  if (promptTokens + room > limits.maxContext) throw tooLong(String(promptTokens), room, limits);
}

/** As checkFits, of a text that is not encoded yet: only where no encoding of it could fit. */
export function checkTextFits(
  { length, fewestTokens }: { length: number; fewestTokens: number },
  room: number,
  limits: EngineLimits,
): void {
  if (fewestTokens + room > limits.maxContext)
    throw tooLong(`at least ${fewestTokens} (a text of ${length} characters)`, room, limits);
}

function tooLong(received: string, room: number, { maxContext, numBlocks }: EngineLimits): LockstepError {
  return new LockstepError(
    "PROMPT_TOO_LONG",
    `Expected a prompt of at most ${maxContext - room} tokens but received ${received}: ` +
      `the context holds ${maxContext} tokens (maxContext; the KV cache has ${numBlocks} blocks)` +
      `${room > 0 ? `, ${room} of them for output` : ""}`,
  );
}
