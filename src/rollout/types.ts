/** The sample of a rollout: what engine.rollouts() yields, engine.resume() goes on from and toSlimeSample() converts. Types only. */
import type { ChatMessage } from "../chat/types.js";
import type { ErrorCode } from "../errors.js";
import type { SamplingOptions } from "../options.js";

/** A span of response tokens, `to` exclusive, and the version of the weights that they were made under. */
export interface WeightSpan {
  version: number;
  from: number;
  to: number;
}

/** The sampling options of a sample as JSON can write them; its seed and sampleIndex stand in the sample itself. */
export type RolloutSampling = Omit<SamplingOptions, "signal" | "n" | "seed" | "sampleIndex" | "logitBias"> & {
  /** By token id; a ban is the string "-Infinity", since JSON has no such number. */
  logitBias?: Record<string, number | "-Infinity">;
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
  /** "stop": the episode ended by itself; "length": by maxResponseTokens or the context; "abort": by the caller, or by `error`. */
  finishReason: "stop" | "length" | "abort";
  /** What stopped the last turn: a stop string, or the id of a stop or EOS token. */
  stop?: string | number;
  /** The model's turns, the last one included however short it is. */
  turns: number;
  /** Over all turns: completionTokens are the sampled ones, cachedTokens those whose K and V the prefix cache had. */
  usage: { promptTokens: number; completionTokens: number; cachedTokens: number };
  /** The request's, unchanged. */
  metadata?: unknown;
  /** What the reward callback returned: a finite number. */
  reward?: number;
  /** Why the episode, or its reward, failed; the rest of the sample is what exists. */
  error?: { code: ErrorCode; message: string };
  sampling: RolloutSampling;
}
