/** What engine.stats() says: the native engine's counts, and those of this side. Main thread (or a worker's). */
import type { Connection } from "./connection.js";
import type { ErrorCode, ErrorCounts, ErrorTally } from "./errors.js";
import type { Requests } from "./requests.js";

/** Counts since load. */
export interface EngineStats {
  steps: number;
  /** Of them, those that a GPU was given before the results of the step before were there. 0 on the CPU. */
  stepsAhead: number;
  generatedTokens: number;
  /** Of prompts, and of the output that resumed samples began with. */
  promptTokens: number;
  /** Tokens that went through the forward pass; after a preemption they go again. */
  computedTokens: number;
  /** Of promptTokens, those whose K and V came from the prefix cache. */
  cachedTokens: number;
  /** Requests for whose prompt the prefix cache knew all blocks that it could share, or a beginning of them. */
  prefixHits: { full: number; partial: number };
  /** Cached blocks that were overwritten for want of free ones. */
  evictions: number;
  preemptions: number;
  /** Requests that a signal or their reader ended, those that had not reached the engine yet included. */
  aborts: number;
  /** Calls and requests refused before they reached the engine, by the error's code. A call refused whole counts once. */
  rejected: ErrorCounts;
  /** Requests that the engine ended in an error, by its code. */
  failed: ErrorCounts;
  /** Why the engine answers with ENGINE_FAILED, once it does. */
  failure?: { code: ErrorCode; message: string };
  /** Most sequences in one step. */
  maxBatch: number;
  /** Requests waiting for a place. */
  queue: number;
  running: number;
  blocks: { free: number; cached: number; owned: number };
  /** Of the weights in use. */
  weightVersion: number;
  /** Between sleep() and wake(). */
  asleep: boolean;
  /**
   * Memory of KV cache, workspaces, copied weights and the buffers through which two GPUs exchange sums, on the engine's
   * devices; on the CPU committed as it is used.
   */
  deviceBytes: number;
  /**
   * The longest turn of the event loop with work for this engine, from that work's beginning on, in milliseconds. What
   * the caller's code takes behind it is in it.
   */
  longestLoopBlockMs: number;
}

export function engineStats(
  connection: Connection,
  requests: Requests,
  rejected: ErrorTally,
  asleep: boolean,
): EngineStats {
  const {
    waiting,
    freeBlocks,
    cachedBlocks,
    ownedBlocks,
    fullHits,
    partialHits,
    busySeconds: _busy,
    kernels: _kernels,
    ...counts
  } = connection.stats();
  const { failure, turns, weightVersion } = connection;
  return {
    ...counts,
    aborts: counts.aborts + requests.abortedUnsubmitted,
    prefixHits: { full: fullHits, partial: partialHits },
    rejected: rejected.counts(),
    failed: connection.failed(),
    ...(failure && { failure: { code: failure.code, message: failure.message } }),
    longestLoopBlockMs: turns.longestMs,
    weightVersion,
    asleep,
    queue: waiting,
    blocks: { free: freeBlocks, cached: cachedBlocks, owned: ownedBlocks },
  };
}
