/**
 * Checks of what rollouts are given: the run's options, requests and samples to resume; and the sample that an episode
 * begins with. Main thread. Everything that a request does not say is decided here.
 */
import {
  abortSignal,
  callback,
  checkOptions,
  integer,
  isPlainObject,
  reading,
  type Schema,
} from "../check.js";
import { invalid, type LockstepError } from "../errors.js";
import { drawSeed, type Sampling } from "../options.js";
import type { Prompt, PromptEncoding } from "../prompt.js";
import type { RolloutEngine } from "./rollout-engine.js";
import { emptySample } from "./sample.js";
import type {
  EpisodeOptions,
  PromptOptions,
  RewardCallback,
  RolloutOptions,
  RolloutRequest,
  RolloutSample,
  RolloutSampling,
  TurnCallback,
} from "./types.js";

const kMaxInt32 = 2 ** 31 - 1; // also the longest that a timer takes, in milliseconds
const kSeeds = Number.MAX_SAFE_INTEGER + 1;

const kEpisodeSchema: Schema<EpisodeOptions> = {
  turn: callback<TurnCallback>(),
  reward: callback<RewardCallback>(),
  callbackTimeoutMs: integer(1, kMaxInt32),
  signal: abortSignal,
};
const kDefaultTimeoutMs = 600_000;

export function checkEpisodeOptions(options: unknown): EpisodeOptions & { callbackTimeoutMs: number } {
  return {
    callbackTimeoutMs: kDefaultTimeoutMs,
    ...checkOptions<EpisodeOptions>(options, "resume options", kEpisodeSchema),
  };
}

/** A run's options, with what has a default decided. */
export type RunOptions = RolloutOptions &
  Required<Pick<RolloutOptions, "n" | "concurrency" | "callbackTimeoutMs">>;

export function checkRunOptions(engine: RolloutEngine, options: unknown): RunOptions {
  const { maxSequences, maxQueue } = engine.limits;
  const given = checkOptions<RolloutOptions>(options, "rollouts options", {
    ...kEpisodeSchema,
    sampling: (value, where) => samplingOf(value, where, kNotOfRuns) as RolloutOptions["sampling"],
    n: integer(1, 65_536),
    seed: integer(0, Number.MAX_SAFE_INTEGER),
    maxResponseTokens: integer(1, kMaxInt32),
    cancelGroup: callback(),
    concurrency: integer(1, maxQueue),
  });
  engine.checkSampling(given.sampling);
  return {
    n: 1,
    concurrency: Math.min(maxSequences, maxQueue),
    callbackTimeoutMs: kDefaultTimeoutMs,
    ...given,
  };
}

/** Keys of sampling options that a rollout does not take, and why. */
const kNotOfRollouts: Readonly<Record<string, string>> = {
  n: "it is the request's own n, or the run's",
  signal: "it is the run's own signal",
  logprobs: "they are always reported",
  topLogprobs: "score the sample's tokens for them",
  promptLogprobs: "score the sample's tokens for them",
  forcedTokens: "a sample's tokens are sampled, or an observation",
};
const kNotOfRuns: Readonly<Record<string, string>> = {
  ...kNotOfRollouts,
  seed: "all requests would share it; the run's own seed gives each its own",
  sampleIndex: "it is a request's",
};

/** A copy of sampling options that a rollout may take; what they hold is checked by checkSampling. */
function samplingOf(
  value: unknown,
  where: string,
  refused: Readonly<Record<string, string>>,
): Record<string, unknown> {
  if (!isPlainObject(value)) throw invalid("an object", where, value);
  const options: Record<string, unknown> = { ...value };
  for (const [key, why] of Object.entries(refused))
    if (options[key] !== undefined) throw invalid(`no ${key} (${why})`, `a rollout's ${where}`, options[key]);
  const { logitBias } = options;
  if (isPlainObject(logitBias))
    options.logitBias = Object.fromEntries(
      Object.entries(logitBias).map(([id, bias]) => [id, bias === "-Infinity" ? -Infinity : bias]),
    );
  return options;
}

/** A request that has been checked: what its samples begin with, and how they are played. */
export interface CheckedRequest {
  n: number;
  encoding: PromptEncoding;
  /** Of its first sample. */
  sampling: Sampling;
  turn?: TurnCallback | undefined;
  reward?: RewardCallback | undefined;
  first: RolloutSample;
}

/** Throws on bad input. `groupIndex`: the request's place. */
export function checkRequest(
  engine: RolloutEngine,
  run: RunOptions,
  request: unknown,
  groupIndex: number,
): CheckedRequest {
  const given = checkOptions<RolloutRequest>(request ?? null, "request", {
    prompt: (value) => value as Prompt,
    n: integer(1, 65_536),
    sampling: (value, where) => samplingOf(value, where, kNotOfRollouts) as RolloutRequest["sampling"],
    metadata: (value) => value,
    turn: callback(),
    reward: callback(),
  });
  const options = { seed: seedOf(run, groupIndex), ...run.sampling, ...defined(given.sampling) };
  const n = given.n ?? run.n;
  const sampling = engine.checkSampling({ ...options, n, logprobs: true });
  const encoding = engine.checkPrompt(given.prompt);
  return {
    n,
    encoding,
    sampling,
    turn: given.turn ?? run.turn,
    reward: given.reward ?? run.reward,
    first: {
      ...emptySample({
        groupIndex,
        sampleIndex: sampling.sampleIndex,
        seed: sampling.seed,
        computePath: engine.computePath,
        sampling: recordOf(options, sampling),
      }),
      ...reading("prompt", () => promptOf(given.prompt!, engine.limits.maxContext)),
      ...(given.metadata !== undefined && { metadata: given.metadata }),
      ...(run.maxResponseTokens !== undefined && { maxResponseTokens: run.maxResponseTokens }),
    },
  };
}

/** How a sample that was interrupted goes on. Throws where it could not have been made here. */
export function planOf(
  engine: RolloutEngine,
  { prompt, promptOptions, tokens, seed, sampleIndex, sampling }: RolloutSample,
): { encoding?: PromptEncoding; sampling: Sampling } {
  const options = samplingOf(sampling, "sampling", kNotOfRollouts);
  const checked = engine.checkSampling({ ...options, seed, sampleIndex, logprobs: true });
  if (tokens.length > 0) return { sampling: checked };
  return { sampling: checked, encoding: engine.checkPrompt(promptFrom(prompt, promptOptions)) };
}

/** What promptOf took apart. */
function promptFrom(prompt: RolloutSample["prompt"], promptOptions: PromptOptions | undefined): unknown {
  if (typeof prompt === "string") return prompt;
  return typeof prompt[0] === "number" ? { tokens: prompt } : { messages: prompt, ...promptOptions };
}

/** The sample of a request that was refused. */
export function refusedSample(
  engine: RolloutEngine,
  run: RunOptions,
  groupIndex: number,
  { code, message }: LockstepError,
): RolloutSample {
  const { computePath } = engine;
  const seed = seedOf(run, groupIndex);
  const empty = emptySample({ groupIndex, sampleIndex: 0, seed, computePath, sampling: {} });
  return { ...empty, error: { code, message } };
}

function seedOf({ seed }: RunOptions, groupIndex: number): number {
  return seed === undefined ? drawSeed() : groupSeed(seed, groupIndex);
}

/** The seed of the run's group: `seed + groupIndex`, modulo 2^53. */
export function groupSeed(seed: number, groupIndex: number): number {
  const left = kSeeds - groupIndex; // sums beyond 2^53 would be rounded
  return seed < left ? seed + groupIndex : seed - left;
}

/**
 * A checked prompt as a sample holds it: its list is the sample's own. Ids beyond the context are not copied: they are about
 * to be refused.
 */
function promptOf(prompt: Prompt, maxContext: number): Pick<RolloutSample, "prompt" | "promptOptions"> {
  if (typeof prompt === "string") return { prompt };
  if ("text" in prompt && prompt.text !== undefined) return { prompt: prompt.text };
  if ("tokens" in prompt && prompt.tokens !== undefined)
    return { prompt: prompt.tokens.length > maxContext ? [] : Array.from(prompt.tokens) };
  const { messages, ...rest } = prompt as Extract<Prompt, { messages: unknown }>;
  const promptOptions: PromptOptions = defined(rest);
  return {
    prompt: messages.map((message) => ({ ...message })),
    ...(Object.keys(promptOptions).length > 0 && { promptOptions }),
  };
}

/** Without the keys that are set to undefined. */
function defined<T extends object>(object: T | undefined): Partial<T> {
  return Object.fromEntries(
    Object.entries(object ?? {}).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}

/** Sampling options as a sample holds them: what was given, and what the checkpoint's defaults came to. */
function recordOf(options: Record<string, unknown>, sampling: Sampling): RolloutSampling {
  const { seed: _seed, sampleIndex: _index, logitBias: _bias, stopTokenIds, ...given } = defined(options);
  const { temperature, topK, topP, minP, repetitionPenalty, biasTokens, biasValues } = sampling;
  const bias = Array.from(biasTokens, (id, i) => [
    id,
    biasValues[i] === -Infinity ? "-Infinity" : biasValues[i],
  ]);
  return {
    ...given,
    ...{ temperature, topK, topP, minP, repetitionPenalty },
    ...(stopTokenIds !== undefined && { stopTokenIds: Array.from(stopTokenIds as ArrayLike<number>) }),
    ...(bias.length > 0 && { logitBias: Object.fromEntries(bias) }),
  };
}
