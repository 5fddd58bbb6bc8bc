// Compiles every CUDA file for every target and fails on spills or on kernels over their register budget.
// `node scripts/nvcc-check.mjs [--install]`: nvcc from PATH, CUDA_HOME or .cache/nvcc; with --install (CI) it is
// fetched from PyPI into .cache/nvcc where there is none. Writes the table of kernels to standard output.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const venv = join(root, ".cache", "nvcc");
const kTargets = ["sm_80", "sm_90", "sm_100", "sm_120"];
const kPackages = [
  "nvidia-cuda-nvcc",
  "nvidia-cuda-runtime",
  "nvidia-cuda-cccl",
  "nvidia-nvvm",
  "nvidia-cuda-crt",
];
/** The flags that the numbers depend on, too: CMakeLists.txt must use the same. */
const kFlags = ["-std=c++20", "-O3", "--fmad=false", "--expt-relaxed-constexpr", "-diag-suppress", "554"];

// Most registers a kernel may use: 65,536 / (threads x blocks wanted on a multiprocessor). First match counts.
const kBudgets = [
  { kernel: /linear_kernel.*4TileILi4ELi1E/, registers: 168 }, // 128 threads, 3 blocks: 32 tokens
  { kernel: /linear_kernel.*4TileILi[24]E/, registers: 255 }, // 256 threads: prefill
  { kernel: /linear_kernel/, registers: 128 }, // 128 threads, 4 blocks: decode
  { kernel: /linear_sm90_kernel/, registers: 168 }, // 384 threads: what warpgroups exchange
  { kernel: /multiply_sm90_kernel/, registers: 128 }, // 256 threads, 2 blocks
  { kernel: /attention_kernelINS1_5ShapeILb0ELi4E/, registers: 128 }, // 128 threads, 3 blocks: decode
  { kernel: /attention_kernel/, registers: 255 },
  { kernel: /finish_heads_kernelILi16E/, registers: 128 }, // heads beyond 128 elements
  { kernel: /rms_norm_kernel/, registers: 96 }, // a row's elements
  { kernel: /./, registers: 64 },
];

const nvcc = findNvcc() ?? (process.argv.includes("--install") ? install() : undefined);
if (nvcc === undefined) {
  console.log("nvcc-check: no nvcc on PATH, in CUDA_HOME or in .cache/nvcc (--install fetches one)");
  process.exit(2);
}
const problems = [];
let count = 0;
for (const folder of ["native/ops/cuda", "native/comm/cuda"])
  for (const file of readdirSync(join(root, folder)).filter((name) => name.endsWith(".cu")))
    for (const target of file.endsWith("_sm90.cu") ? ["sm_90a"] : kTargets)
      compile(join(folder, file), target);
for (const problem of problems) console.log(`nvcc-check: ${problem}`);
console.log(`nvcc-check: ${count} kernels, ${problems.length} problem${problems.length === 1 ? "" : "s"}`);
if (problems.length > 0) process.exitCode = 1;

function compile(file, target) {
  const source = join(root, file);
  const args = [
    ...kFlags,
    "-I",
    join(root, "native"),
    `-arch=${target}`,
    "-Xptxas",
    "-v",
    "-Werror",
    "all-warnings",
  ];
  const run = spawnSync(nvcc, [...args, "-cubin", "-o", "/dev/null", source], { encoding: "utf8" });
  if (run.status !== 0) {
    problems.push(`${file} for ${target} does not compile:\n${run.stderr}${run.error ?? ""}`);
    return;
  }
  // ptxas says: the kernel's name, a line of stack and spills, a line of registers.
  const pattern =
    /Compiling entry function '(\w+)' for '\w+'[\s\S]*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g;
  let kernels = 0;
  for (const [, kernel, , stores, loads, registers] of run.stderr.matchAll(pattern)) {
    kernels++;
    const name = readable(kernel);
    const budget = kBudgets.find((one) => one.kernel.test(kernel)).registers;
    console.log(
      `${target} ${basename(file).padEnd(15)} ${registers.padStart(3)} registers, spills ${stores}/${loads} ${name}`,
    );
    if (stores !== "0" || loads !== "0") problems.push(`${name} spills for ${target}`);
    if (Number(registers) > budget)
      problems.push(`${name} uses ${registers} registers for ${target}, budget ${budget}`);
  }
  // A gate that cannot fail is none: a file without kernels means that ptxas speaks otherwise than expected.
  if (kernels === 0) problems.push(`${file} for ${target}: ptxas reported no kernel`);
  count += kernels;
}

/** Enough of a mangled name to know the kernel and its template arguments. */
function readable(mangled) {
  return mangled.replace(/^_ZN.*?\d+(?=[a-z]+(?:_[a-z]+)*_kernel)/, "").slice(0, 60);
}

function findNvcc() {
  const places = [process.env.CUDA_HOME && join(process.env.CUDA_HOME, "bin/nvcc"), inVenv()].filter(Boolean);
  if (spawnSync("nvcc", ["--version"]).status === 0) return "nvcc";
  return places.find((place) => existsSync(place));
}

function inVenv() {
  const lib = join(venv, "lib");
  if (!existsSync(lib)) return undefined;
  for (const python of readdirSync(lib)) {
    const packages = join(lib, python, "site-packages/nvidia");
    if (!existsSync(packages)) continue;
    for (const name of readdirSync(packages)) {
      const place = join(packages, name, "bin/nvcc");
      if (existsSync(place)) return place;
    }
  }
  return undefined;
}

function install() {
  mkdirSync(dirname(venv), { recursive: true });
  for (const [command, ...args] of [
    ["python3", "-m", "venv", venv],
    [join(venv, "bin/pip"), "--quiet", "install", ...kPackages],
  ]) {
    if (spawnSync(command, args, { stdio: "inherit" }).status !== 0) return undefined;
  }
  return inVenv();
}
