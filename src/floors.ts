/**
 * The ceilings of this machine, or of a GPU in it, to hold speeds against: measured when asked for, by native code, off
 * the JavaScript thread. `lockstep bench` prints them; nothing in the engine depends on them.
 */
import { readFileSync } from "node:fs";
import { type Check, checkOptions, integer } from "./check.js";
import { deviceOption, placeRanks } from "./devices.js";
import { invalid } from "./errors.js";
import { availableMemoryBytes, defaultThreads } from "./host.js";
import { forcedComputePath, native } from "./native.js";

export interface FloorsOptions {
  /** "cpu", or one GPU. Default "cpu". */
  device?: "cpu" | `cuda:${number}`;
  /** Threads that read and compute, on the CPU. Default: the engine's. */
  threads?: number;
  /**
   * Memory that is read; on the CPU no more than is available. Default there: twice the last-level cache, in [256 MiB,
   * 1 GiB], no more than a quarter of what is available; on a GPU five times the L2 cache, at least 1 GiB, no more than a
   * quarter of what is free. A GPU needs it twice, for the copy.
   */
  bufferBytes?: number;
}

export interface Floors {
  device: "cpu" | `cuda:${number}`;
  /** What was measured: the compute path that an engine would use. */
  computePath: string;
  /** 0 on a GPU. */
  threads: number;
  bufferBytes: number;
  /** Memory read in a stream, by all threads together. Best of several passes. */
  readBytesPerSecond: number;
  /** On a GPU: memory copied, bytes read and bytes written together. */
  copyBytesPerSecond?: number;
  /**
   * BF16 multiply-adds, of which each counts as 2: on the CPU dot products of the path's linear kernel on operands in L1,
   * on a GPU the tensor cores' (wgmma on Hopper, else mma.sync). Best of several passes.
   */
  flopsPerSecond: number;
}

const kMiB = 2 ** 20;

const oneDevice: Check<Floors["device"]> = (value, where) => {
  const device = typeof value === "string" && deviceOption(value, where);
  if (!device || device === "auto" || device === "cuda")
    throw invalid("'cpu', 'cuda:0', 'cuda:1', ...", where, value);
  return device as Floors["device"];
};

/** Takes about a second, with all `threads` or the GPU busy: measure while nothing else runs. */
export async function measureFloors(options?: FloorsOptions): Promise<Floors> {
  const { device = "cpu", ...sizes } = checkOptions<FloorsOptions>(options, "measureFloors options", {
    device: oneDevice,
    threads: integer(1, 1024),
    bufferBytes: integer(kMiB, Number.MAX_SAFE_INTEGER),
  });
  return await (device === "cpu" ? measureCpu(sizes) : measureGpu(device, sizes));
}

async function measureCpu({ threads = defaultThreads(), bufferBytes = defaultBufferBytes() }: FloorsOptions) {
  integer(kMiB, Math.max(kMiB, availableMemoryBytes()))(bufferBytes, "bufferBytes");
  const computePath = forcedComputePath() || native().cpuPaths()[0]!;
  const floors = await native().measureFloors(threads, computePath, bufferBytes);
  return { device: "cpu" as const, computePath, threads, ...floors };
}

async function measureGpu(device: `cuda:${number}`, { bufferBytes = 0 }: FloorsOptions) {
  const status = native().cudaStatus();
  const [index] = placeRanks(device, 1, () => status).devices as [number];
  const { computeCapability } = status.devices[index]!;
  const floors = await native().measureFloors(0, device, bufferBytes);
  return { device, computePath: `cuda-sm${computeCapability.replace(".", "")}`, threads: 0, ...floors };
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
