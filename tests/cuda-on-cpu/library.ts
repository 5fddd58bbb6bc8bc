/** Where the played CUDA backend lies, and suites that are skipped where it was not built. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describeIf } from "../support/shared.js";

export const kBuild =
  process.env.LOCKSTEP_CUDA_ON_CPU_BUILD ??
  fileURLToPath(new URL("../../.cache/cuda-on-cpu", import.meta.url));
export const kLibrary = `${kBuild}/Release/lockstep-cuda-on-cpu.so`;

export const describeIfPlayed = (name: string, body: () => void): void =>
  describeIf(existsSync(kLibrary), "scripts/cuda-on-cpu.mjs has not run", name, body);
