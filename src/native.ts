/**
 * The addon's typed contract and its loader. What stands here mirrors native/binding: change both together.
 * Everything that crosses is plain numbers, strings and typed arrays; the native side knows no defaults.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { StoredDtype } from "./checkpoint/expected-tensors.js";
import { type ErrorCode, LockstepError } from "./errors.js";
import type { KernelProfile } from "./profile.js";

export interface NativeModelConfig {
  hiddenSize: number;
  intermediateSize: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  vocabSize: number;
  rmsNormEps: number;
  tiedHead: boolean;
  ropeInvFreq: Float32Array; // [headDim / 2]
  ropeScale: number;
}

/** Where a checkpoint's tensors lie. */
export interface NativeTensorTable {
  files: { path: string; sizeBytes: number }[];
  tensors: { name: string; dtype: StoredDtype; file: number; offsetBytes: number; shape: number[] }[];
}

export interface NativeEngineSpec extends NativeTensorTable {
  config: NativeModelConfig;
  /** Copy all weights into memory instead of using the mapped files. */
  copyWeights: boolean;
  ranks: number;
  prefixCache: boolean;
  /** "" = the best of `cpuPaths()`. */
  computePath: string;
  /** CUDA devices, one a rank; none: the CPU. */
  devices: Int32Array;
  /** Of a device's free memory, for weights and KV cache; where numBlocks is 0. */
  memoryFraction: number;
  threads: number;
  /** 0, on devices only: what memoryFraction leaves. */
  numBlocks: number;
  maxContext: number;
  maxBatchTokens: number;
  maxSequences: number;
  /** NativeStats.kernels tells. */
  profile: boolean;
  /** NON_FINITE_LOGITS names the layer. */
  debug: boolean;
}

/** How output tokens are chosen. */
export interface NativeSampling {
  temperature: number;
  topK: number; // 0 = off
  topP: number; // 1 = off
  minP: number; // 0 = off
  repetitionPenalty: number; // 1 = off
  presencePenalty: number;
  frequencyPenalty: number;
  biasTokens: Int32Array;
  biasValues: Float32Array; // of biasTokens
  seed: number;
  sampleIndex: number;
  /** 0: nothing is generated; the prompt is computed, and scored where `score` is given. */
  maxTokens: number;
  minTokens: number;
  forcedTokens: Int32Array;
  stopTokenIds: Int32Array;
  logprobs: boolean;
  topLogprobs: number;
  /** Only at temperature 0 or with a filter that float32 does not round away. */
  keptTokenIds: boolean;
}

export interface NativeRequest extends NativeSampling {
  id: number;
  tokens: Int32Array;
  /** Output of an interrupted sample, fewer than maxTokens: neither sampled nor reported again. */
  outputTokens?: Int32Array;
  /** What sharing of K and V depends on besides the tokens: a 128-bit digest. */
  prefixRoot: BigUint64Array;
  /** Of an embedding, with maxTokens 0: which hidden states it is the mean of. */
  pooling?: "last" | "mean";
  score?: { from: number; topLogprobs: number; tokenIds: Int32Array };
}

/** Logprobs of consecutive tokens; `top*` and `tokenIdLogprobs` have the same number of entries for each. */
export interface NativeLogprobs {
  logprobs: Float64Array;
  topTokens: Int32Array;
  topLogprobs: Float64Array;
  tokenIdLogprobs: Float64Array;
}

/** What does not fit a row of NativeEvent.rows. */
export interface NativeDetails {
  row: number;
  sampled?: NativeLogprobs;
  keptTokenIds?: Int32Array;
  scored?: NativeLogprobs;
  /** [D], with the last event of an embedding. */
  pooled?: Float64Array;
  code?: string;
  message?: string;
}

/** Columns of NativeEvent.rows; token is -1 where the event brings none. */
export const Column = {
  id: 0,
  token: 1,
  finish: 2,
  logprob: 3,
  temperatureLogprob: 4,
  samplingLogprob: 5,
  cachedTokens: 6,
  count: 7,
} as const;

/** Values of the finish column. */
export const Finish = { none: 0, stop: 1, length: 2, abort: 3, error: 4 } as const;

/** What is asked of the engine as a whole. Mirrors native/engine/control.h. */
export interface NativeControl {
  id: number;
  kind: number; // ControlKind
  running: number; // Running
  /** Of update; handed over. */
  weights?: NativeStagedWeights;
  version?: number;
  /** Of read: a tensor's name. */
  tensor?: string;
  /** Of sleep. */
  keepWeights?: boolean;
}

export const ControlKind = {
  pause: 0,
  continue: 1,
  flush: 2,
  update: 3,
  read: 4,
  sleep: 5,
  wake: 6,
} as const;

/** What becomes of requests that have begun. */
export const Running = { wait: 0, abort: 1, continue: 2 } as const;

/** Weights on their way into an engine. Errors have a code; NaN and infinity are INVALID_CHECKPOINT. */
export interface NativeStagedWeights {
  /** Without files: elements [first, ...) of a tensor. */
  write(name: string, first: number, dtype: StoredDtype, bytes: Uint8Array): void;
  /** With files: everything, off the JavaScript thread. */
  read(copy: boolean): Promise<void>;
  /** read() rejects soon. */
  cancel(): void;
}

/** One per step at most: a row for each request that took a token or ended. */
export interface NativeEvent {
  kind: "loaded" | "step" | "done" | "failed" | "closed";
  rows: Float64Array; // [requests, Column.count]
  details: NativeDetails[];
  /** Of the weights that the step computed with. */
  weightVersion: number;
  computePath?: string;
  numBlocks?: number;
  /** With "done": the control that was carried out, or was not where there is a code ("CANCELLED": nor will it be). */
  control?: number;
  /** With "done", of read: the tensor, BF16. */
  data?: ArrayBuffer;
  code?: string;
  message?: string;
  /** What making this object out of the engine's event took of the JavaScript thread. */
  conversionMs: number;
}

export interface NativeStats {
  steps: number;
  stepsAhead: number;
  generatedTokens: number;
  promptTokens: number;
  computedTokens: number;
  maxBatch: number;
  preemptions: number;
  aborts: number;
  waiting: number;
  running: number;
  cachedTokens: number;
  fullHits: number;
  partialHits: number;
  evictions: number;
  freeBlocks: number;
  cachedBlocks: number;
  ownedBlocks: number;
  deviceBytes: number;
  /** Of the engine thread, waiting for requests left out. */
  busySeconds: number;
  /** Empty unless the engine profiles. */
  kernels: KernelProfile[];
}

export interface NativeEngine {
  submit(request: NativeRequest): void;
  end(id: number, stopped: boolean): void;
  /** Answered by one "done" event; by none where the engine fails or is closed before. */
  control(control: NativeControl): void;
  /** Takes a control back that has not begun. */
  cancel(control: number): void;
  /** Keep the process alive, or not, while this engine has events to come. */
  ref(): void;
  unref(): void;
  stats(): NativeStats;
  close(): void;
}

/** Ceilings of a device. */
export interface NativeFloors {
  readBytesPerSecond: number;
  copyBytesPerSecond?: number; // of a GPU
  flopsPerSecond: number;
  bufferBytes: number;
}

/** What the CUDA backend says of itself, or why there is none. */
export interface NativeCudaStatus {
  usable: boolean;
  /** Where it is not usable: exactly why. */
  reason: string;
  devices: { name: string; computeCapability: string; totalBytes: number; peers: boolean[] }[];
}

export interface NativeAddon {
  NativeEngine: new (spec: NativeEngineSpec, listener: (event: NativeEvent) => void) => NativeEngine;
  /** Without files, memory for all tensors is taken. */
  StagedWeights: new (
    table: NativeTensorTable,
  ) => NativeStagedWeights;
  samplingDistribution(
    logits: Float32Array,
    sampling: NativeSampling,
    prompt: Int32Array,
    output: Int32Array,
    computePath: string,
  ): Float32Array;
  cpuPaths(): string[];
  cudaStatus(): NativeCudaStatus;
  /** Off the JavaScript thread; takes about a second. path: of the CPU, or "cuda:0", where threads count for nothing and bufferBytes may be 0. */
  measureFloors(threads: number, path: string, bufferBytes: number): Promise<NativeFloors>;
  blockTokens: number;
}

/** LOCKSTEP_ADDON names another build of the addon: one with sanitizers, or the tests' own. */
export const addonPath =
  process.env.LOCKSTEP_ADDON ?? fileURLToPath(new URL("../build/Release/lockstep.node", import.meta.url));

/** LOCKSTEP_COMPUTE_PATH forces a compute path; "" = the best of `cpuPaths()`. */
export const forcedComputePath = (): string => process.env.LOCKSTEP_COMPUTE_PATH ?? "";

let addon: NativeAddon | undefined;

/** The addon, loaded at the first call. */
export function native(): NativeAddon {
  try {
    addon ??= createRequire(import.meta.url)(addonPath) as NativeAddon;
    return addon;
  } catch (cause) {
    const reason = `The native addon could not be loaded from ${addonPath}: ${(cause as Error).message}`;
    throw new LockstepError("NOT_SUPPORTED", reason, { cause });
  }
}

/** What native code threw, with its code. */
export function nativeError(error: unknown): LockstepError {
  const { code, message } = error as { code?: ErrorCode; message: string };
  return new LockstepError(code ?? "ENGINE_FAILED", message);
}
