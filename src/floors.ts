/**
 * The ceilings of this machine, to hold speeds against: measured when asked for, by native code, off the JavaScript
 * thread. `lockstep bench` prints them; nothing in the engine depends on them.
 */
import { readFileSync } from "node:fs";
import { checkOptions, integer } from "./check.js";
import { availableMemoryBytes, defaultThreads } from "./host.js";
import { forcedComputePath, native } from "./native.js";

export interface FloorsOptions {
  /** Threads that read and compute. Default: the engine's. */
  threads?: number;
  /** Memory that is read; no more than is available. Default: twice the last-level cache, in [256 MiB, 1 GiB], no more than a quarter of what is available. */
  bufferBytes?: number;
}

export interface Floors {
  /** What was measured: the compute path that an engine would use. */
  computePath: string;
  threads: number;
  bufferBytes: number;
  /** Memory read in a stream, by all threads together. Best of several passes. */
  readBytesPerSecond: number;
  /** BF16 dot products of the path's linear kernel on operands in L1; a multiply-add counts as 2. Best of several passes. */
  flopsPerSecond: number;
}

const kMiB = 2 ** 20;

/** Takes about a second, with all `threads` busy: measure while nothing else runs. */
export async function measureFloors(options?: FloorsOptions): Promise<Floors> {
  const { threads = defaultThreads(), bufferBytes = defaultBufferBytes() } = checkOptions<FloorsOptions>(
    options,
    "measureFloors options",
    { threads: integer(1, 1024), bufferBytes: integer(kMiB, Math.max(kMiB, availableMemoryBytes())) },
  );
  const path = forcedComputePath() || native().cpuPaths()[0]!;
  const floors = await native().measureFloors(threads, path, bufferBytes);
  return { computePath: path, threads, bufferBytes, ...floors };
}

function defaultBufferBytes(): number {
  const wanted = Math.min(Math.max(2 * lastLevelCacheBytes(), 256 * kMiB), 1024 * kMiB);
  return Math.max(kMiB, Math.min(wanted, Math.floor(availableMemoryBytes() / 4)));
}

/** 0 where the system does not say. */
function lastLevelCacheBytes(): number {
  try {
    const text = readFileSync("/sys/devices/system/cpu/cpu0/cache/index3/size", "utf8");
    return Number(text.match(/^(\d+)K/)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
