/**
 * What goes into a rollout and what comes out: requests, options and callbacks of engine.rollouts() and engine.resume(), and
 * the sample, which toSlimeSample() converts. Types only.
 */
import type { ChatMessage, ToolCall } from "../chat/types.js";
import type { ErrorCode } from "../errors.js";
import type { LogitBias, SamplingOptions } from "../options.js";
import type { Prompt } from "../prompt.js";
import type { WeightSpan } from "../stream.js";

/** How a prompt of messages is rendered: the rest of that Prompt. */
export type PromptOptions = Omit<Extract<Prompt, { messages: unknown }>, "messages">;

/** By token id. In a sample a ban is the string "-Infinity", since JSON has no such number; a request takes both. */
type RolloutBias = Record<string, number | "-Infinity">;

/** Sampling options that rollouts do not take: the run has its own, or they say nothing about an episode of several turns. */
type NotOfRollouts = "n" | "signal" | "logprobs" | "topLogprobs" | "promptLogprobs" | "forcedTokens";

/** Sampling of a request; `maxTokens`, `minTokens` and penalties are of each turn. Logprobs are always reported. */
export type RequestSampling = Omit<SamplingOptions, NotOfRollouts | "logitBias"> & {
  logitBias?: LogitBias | RolloutBias | undefined;
};

/** The sampling options of a sample as JSON can write them; its seed and sampleIndex stand in the sample itself. */
export type RolloutSampling = Omit<RequestSampling, "seed" | "sampleIndex" | "logitBias"> & {
  logitBias?: RolloutBias;
};

/**
 * One episode: a prompt and a response, in which the model's turns alternate with observations. Plain data: it goes
 * through JSON and structured clone unchanged, so that `resume` works in another process. R below is `responseLength`.
 */
export interface RolloutSample {
  /** The request's place in the input, from 0. */
  groupIndex: number;
  /** Which of the seed's streams; with `seed`, `prompt` and `sampling` it reproduces the sample alone. */
  sampleIndex: number;
  /** [0, 2^53); drawn where the request gave none. */
  seed: number;
  /** As the request gave it: text, messages or ids. */
  prompt: string | ChatMessage[] | number[];
  /** Of a prompt of messages: its tools, enableThinking and the like, where it has any. */
  promptOptions?: PromptOptions;
  /** Ids of prompt and response; the response is the last R of them. Never retokenised. */
  tokens: number[];
  /** R: tokens after the prompt, the model's and observations'. */
  responseLength: number;
  /** The response, decoded, without special tokens. */
  text: string;
  /** [R]: 1 on tokens that the model sampled, 0 on observations. */
  lossMask: number[];
  /** [R]: log-softmax of the raw logits; 0 on observations, as in the next two. */
  logprobs: number[];
  /** [R]: after penalties, bias and temperature, before topK, topP and minP: what a trainer divides by. */
  temperatureLogprobs: number[];
  /** [R]: of the distribution sampled from; 0 at temperature 0. */
  samplingLogprobs: number[];
  /** [R], with `keptTokenIds: true`: the ids that topK, topP and minP left, ascending; [] on observations. */
  keptTokenIds?: number[][];
  /** Ascending, without gaps, over [0, R); empty where R is 0. */
  weightVersions: WeightSpan[];
  /** Bits are equal only within one compute path. */
  computePath: string;
  /**
   * "stop": the episode ended by itself; "length": by maxTokens in a turn, by maxResponseTokens or the context; "abort": by
   * the caller, or by `error`.
   */
  finishReason: "stop" | "length" | "abort";
  /** What stopped the last turn: a stop string, or the id of a stop or EOS token. */
  stop?: string | number;
  /** The model's turns, the last one included where it has a token. */
  turns: number;
  /** Over all turns: promptTokens sums what stood before each, cachedTokens those of them found in the prefix cache. */
  usage: { promptTokens: number; completionTokens: number; cachedTokens: number };
  /** The request's, unchanged. */
  metadata?: unknown;
  /** What the reward callback returned: a finite number. */
  reward?: number;
  /** Why the episode, or its reward, failed; the rest of the sample is what exists. */
  error?: { code: ErrorCode; message: string };
  sampling: RolloutSampling;
  /** The run's, where it had one. */
  maxResponseTokens?: number;
}

/** What the environment says after a turn: messages for the chat template, or text or ids that are appended as they are. */
export type Observation = { messages: ChatMessage[] } | { text: string } | { tokens: ArrayLike<number> };

/** What a callback gets besides the sample, which is a copy. */
export interface CallbackContext {
  /** The model's last turn, without special tokens and without the stop string that ended it. */
  text: string;
  /** The `<tool_call>` blocks of that text that parse. */
  toolCalls: ToolCall[];
  /** The episode's own object, the same in each of its calls: for what its environment has become. Empty at first, and when resumed. */
  // biome-ignore lint/suspicious/noExplicitAny: what is in it is the caller's
  state: Record<string, any>;
  /** Aborted where the result is not waited for any more. */
  signal: AbortSignal;
}

type MaybePromise<T> = T | Promise<T>;
/** Called when a turn of the model's has stopped. Nothing (null, undefined) ends the episode. */
export type TurnCallback = (
  sample: RolloutSample,
  context: CallbackContext,
) => MaybePromise<Observation | null | undefined>;
/** Called when an episode is over, by "stop" or "length". A finite number. */
export type RewardCallback = (sample: RolloutSample, context: CallbackContext) => MaybePromise<number>;

export interface RolloutRequest {
  prompt: Prompt;
  /** Samples: sampleIndex, sampleIndex + 1, ... of one seed. Default: the run's. */
  n?: number | undefined;
  /** Goes before the run's, option by option. */
  sampling?: RequestSampling | undefined;
  /** Any JSON value; it stands in the samples unchanged. */
  metadata?: unknown;
  /** Default: the run's. */
  turn?: TurnCallback | undefined;
  /** Default: the run's. */
  reward?: RewardCallback | undefined;
}

/** Options of engine.resume() as of engine.rollouts(). */
export interface EpisodeOptions {
  /** Without one, an episode is a single turn. */
  turn?: TurnCallback | undefined;
  reward?: RewardCallback | undefined;
  /** A callback that has not settled by then is an error of its sample. Default 600,000. */
  callbackTimeoutMs?: number | undefined;
  /** Ends every episode that runs; they come out with finishReason "abort". */
  signal?: AbortSignal | undefined;
}

export interface RolloutOptions extends EpisodeOptions {
  /** What requests do not say. */
  sampling?: Omit<RequestSampling, "seed" | "sampleIndex"> | undefined;
  /** Default 1. */
  n?: number | undefined;
  /** The request at place i gets the seed `seed + i`, modulo 2^53. Default: each request draws one. */
  seed?: number | undefined;
  /** Response tokens of an episode, all turns and observations together. Default: what the context holds. */
  maxResponseTokens?: number | undefined;
  /** Called when a sample is finished, its reward included, before it comes out: what to stop now that it exists. */
  cancelGroup?: ((sample: RolloutSample, context: CancelContext) => CancelVerdict) | undefined;
  /** Episodes played at once. Default: the engine's maxSequences. */
  concurrency?: number | undefined;
}

export interface CancelContext {
  /** The group's samples that ended by themselves so far, this one last. */
  group: readonly RolloutSample[];
  /** How many of the run did. */
  finished: number;
}

/** Which episodes to abort: of the sample's group, or all. */
export type CancelVerdict = "group" | "run" | false | null | undefined;

/** What abort's filter chooses by. */
export type RunningSample = Pick<
  RolloutSample,
  "groupIndex" | "sampleIndex" | "seed" | "metadata" | "responseLength" | "turns"
>;

/** Samples of a run, by what became of them. */
export interface RolloutStats {
  /** The sum of the next four. */
  started: number;
  /** Being played, or waiting for their reward. */
  inFlight: number;
  /** Ended by themselves. */
  finished: number;
  aborted: number;
  /** Ended with an `error`. */
  failed: number;
  /** Of those that ended: not taken out of the handle yet. */
  waitingForConsumer: number;
  /** Sampled by the model, in samples that ended. */
  generatedTokens: number;
}
