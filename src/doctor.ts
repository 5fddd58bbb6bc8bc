/** What `lockstep doctor` reports: the machine as the engine sees it. Synchronous; loads the addon, or says why it cannot. */
import { arch, cpus, platform } from "node:os";
import { availableMemoryBytes, defaultThreads, physicalCores } from "./host.js";
import { addonPath, forcedComputePath, native } from "./native.js";

export interface DoctorReport {
  node: string;
  platform: string;
  cpu: string;
  physicalCores: number;
  /** The default of `threads`. */
  threads: number;
  availableMemoryBytes: number;
  addon: string;
  /** Why the addon cannot be loaded, where it cannot. */
  addonError?: string;
  /** Compute paths that this build has and this CPU can run, best first. */
  computePaths: string[];
  /** The one in use; "none" where engines cannot load. */
  computePath: string;
  /** What LOCKSTEP_COMPUTE_PATH asks for, where that is none of `computePaths`. */
  missingComputePath?: string;
  /** Whether the CUDA backend could run here; `reason` says exactly why not. `peers[i]`: can read device i's memory. */
  cuda: {
    available: boolean;
    reason: string;
    devices: { name: string; computeCapability: string; totalBytes: number; peers: boolean[] }[];
  };
}

export function doctor(): DoctorReport {
  const { computePaths, addonError } = loadPaths();
  const wanted = forcedComputePath() || computePaths[0];
  const missing = wanted !== undefined && !computePaths.includes(wanted);
  return {
    node: process.version,
    platform: `${platform()}-${arch()}`,
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    physicalCores: physicalCores(),
    threads: defaultThreads(),
    availableMemoryBytes: availableMemoryBytes(),
    addon: addonPath,
    ...(addonError !== undefined && { addonError }),
    computePaths,
    computePath: missing ? "none" : (wanted ?? "none"),
    ...(missing && { missingComputePath: wanted }),
    cuda: cudaReport(addonError),
  };
}

function cudaReport(addonError: string | undefined): DoctorReport["cuda"] {
  if (addonError !== undefined)
    return { available: false, reason: "the native addon cannot be loaded", devices: [] };
  const { usable, reason, devices } = native().cudaStatus();
  return { available: usable, reason, devices };
}

function loadPaths(): { computePaths: string[]; addonError?: string } {
  try {
    return { computePaths: native().cpuPaths() };
  } catch (error) {
    return { computePaths: [], addonError: (error as Error).message };
  }
}
