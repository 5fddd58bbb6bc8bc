// Builds the CUDA kernels for the CPU (tests/cuda-on-cpu/README.md) into .cache/cuda-on-cpu, with the layer's own test.
// `node scripts/cuda-on-cpu.mjs`, then `npx vitest run tests/cuda-on-cpu`.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const cmakeJs = join(
  dirname(createRequire(import.meta.url).resolve("cmake-js/package.json")),
  "bin",
  "cmake-js",
);
const options = ["--CDLOCKSTEP_CUDA_ON_CPU=ON", "--CDLOCKSTEP_CUDA=OFF"];
const { status } = spawnSync(
  process.execPath,
  [
    cmakeJs,
    "compile",
    "-O",
    join(root, ".cache/cuda-on-cpu"),
    "--target",
    "lockstep-cuda-on-cpu",
    ...options,
  ],
  { cwd: root, stdio: "inherit" },
);
process.exit(status ?? 1);
