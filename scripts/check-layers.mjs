// Fails where a dependency points the wrong way. The tables are the rule (ARCHITECTURE.md draws it): what is not listed
// is not allowed, and a file that is in no layer is a violation too. `node scripts/check-layers.mjs [root]`
//
// It reads text, not syntax trees: #include lines, import and export … from, import(…), require(…). A line that only
// looks like one is a violation to be reworded, never the other way round.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), ".."));

// A layer is a folder ("chat/") or a file ("errors.ts"); of several that fit, the longest counts. A layer may always
// use itself. `may`: what else, in the same notation.

// binding → engine → {model, cache} → {checkpoint, ops, comm} → base. Paths are relative to native/.
const kNative = {
  "base/": { may: [] },
  "ops/": { may: ["base/"] },
  "ops/cpu/": { may: ["ops/", "base/", "ops/cpu/kernels/"], system: /^(immintrin|arm_neon)\.h$/ },
  // Compiled for one instruction set each: no inline function of a shared header may end up in them, so only headers
  // of types and intrinsics.
  "ops/cpu/kernels/": {
    may: ["base/bfloat16.h"],
    only: /^(immintrin\.h|arm_neon\.h|cstdint|cstddef|cstring)$/,
  },
  // Kernels and their backend; built into a library of its own, so nothing else may include it.
  "ops/cuda/": { may: ["ops/", "base/"], system: /^(cuda|cublas|nccl|nv)/ },
  "checkpoint/": { may: ["base/", "ops/tensor.h"] }, // views of the weights
  "comm/": { may: ["base/", "ops/"] },
  "comm/cuda/": { may: ["comm/", "ops/cuda/", "ops/", "base/"], system: /^cuda/ },
  // The choice among backends: it knows the CPU's front doors, and opens the CUDA library by name.
  "backend/": { may: ["comm/", "ops/cpu/cpu_ops.h", "ops/cpu/floors.h", "ops/", "base/"] },
  "backend/plugin/": {
    may: ["backend/registry.h", "comm/cuda/", "ops/cuda/", "comm/", "ops/", "base/"],
    system: /^cuda/,
  },
  "cache/": { may: ["ops/", "base/"] },
  "model/": { may: ["cache/", "checkpoint/", "ops/", "comm/", "base/"] },
  "engine/": { may: ["model/", "cache/", "checkpoint/", "ops/", "comm/", "base/"] },
  // cpu_ops.h: what doctor asks
  "binding/": {
    may: ["engine/", "checkpoint/", "base/", "ops/cpu/cpu_ops.h", "backend/registry.h"],
    system: /^napi\.h$/,
  },
  "testing/": { may: [""], system: /^napi\.h$/ },
};

// System headers that only the layers naming them in `system` may include.
const kRestricted = /^(napi|node_api|js_native_api|uv|v8|node|cuda|cublas|nccl|nv|immintrin|arm_neon)/;

// cli, server, eval, rollout → public API → engine → stream → native. Paths are relative to src/.
const kTypeScript = {
  "errors.ts": { may: [] },
  "check.ts": { may: ["errors.ts"] },
  "line-file.ts": { may: ["errors.ts"] },
  "host.ts": { may: [] },
  "python/": { may: [], packages: ["@lezer/python", "@lezer/common"] }, // Python's values, as templates and benchmarks show them
  "profile.ts": { may: [] },
  "native.ts": { may: ["errors.ts", "profile.ts", "checkpoint/"] },
  "signals.ts": { may: [] },
  "turns.ts": { may: [] },
  "devices.ts": { may: ["errors.ts", "check.ts", "native.ts"] },
  "hub/": { may: ["errors.ts", "checkpoint/"], packages: ["@huggingface/hub"] },
  "connection.ts": { may: ["errors.ts", "native.ts", "signals.ts", "turns.ts"] },
  "weights.ts": {
    may: ["check.ts", "checkpoint/", "errors.ts", "native.ts", "signals.ts", "turns.ts"],
  },
  "control.ts": {
    may: ["check.ts", "checkpoint/", "connection.ts", "errors.ts", "native.ts", "signals.ts", "weights.ts"],
  },
  "floors.ts": { may: ["errors.ts", "check.ts", "devices.ts", "host.ts", "native.ts"] },
  "sampling-distribution.ts": { may: ["errors.ts", "check.ts", "native.ts", "options.ts"] },
  "checkpoint/": { may: ["errors.ts"] },
  "chat/": { may: ["errors.ts", "check.ts", "python/", "turns.ts"], packages: ["@huggingface/jinja"] },
  "tokenizer/": {
    may: ["errors.ts", "check.ts", "turns.ts", "chat/"],
    packages: ["@huggingface/tokenizers"],
  },
  "options.ts": {
    may: ["errors.ts", "check.ts", "devices.ts", "host.ts", "native.ts", "checkpoint/", "tokenizer/"],
  },
  "prompt.ts": { may: ["errors.ts", "check.ts", "chat/", "tokenizer/"] },
  "prompts.ts": { may: ["errors.ts", "check.ts"] },
  "embed.ts": { may: ["errors.ts", "check.ts", "prompt.ts"] },
  "stream.ts": { may: ["errors.ts", "options.ts", "native.ts", "connection.ts", "chat/", "tokenizer/"] },
  "score.ts": { may: ["errors.ts", "options.ts", "connection.ts", "stream.ts", "turns.ts"] },
  "doctor.ts": { may: ["host.ts", "native.ts"] },
  "load.ts": {
    may: ["errors.ts", "native.ts", "options.ts", "prompt.ts", "chat/", "checkpoint/", "tokenizer/"],
  },
  "requests.ts": {
    may: [
      ...["check.ts", "errors.ts", "native.ts", "options.ts", "prompt.ts", "score.ts", "signals.ts"],
      ...["stream.ts", "connection.ts", "embed.ts", "turns.ts"],
    ],
  },
  "stats.ts": { may: ["connection.ts", "errors.ts", "requests.ts"] },
  "engine.ts": {
    may: [
      ...["requests.ts", "rollout/resume.ts", "rollout/rollouts.ts", "rollout/types.ts"],
      "rollout/rollout-engine.ts",
      ...["check.ts", "control.ts", "embed.ts", "prompts.ts"],
      "devices.ts",
      "load.ts",
      "errors.ts",
      "native.ts",
      "options.ts",
      "profile.ts",
      "prompt.ts",
      "score.ts",
      "stream.ts",
      "signals.ts",
      "stats.ts",
      "turns.ts",
      "weights.ts",
      "connection.ts",
      "hub/",
      "checkpoint/",
      "tokenizer/",
    ],
  },
  "index.ts": {
    may: [
      ...["sampling-distribution.ts", "floors.ts", "embed.ts", "control.ts", "stats.ts", "weights.ts"],
      ...["errors.ts", "options.ts", "prompt.ts", "score.ts", "stream.ts", "engine.ts", "doctor.ts"],
      ...["profile.ts"],
      ...["chat/types.ts", "tokenizer/tokenizer.ts"],
      ...["rollout/loss-mask.ts", "rollout/rollouts.ts", "rollout/slime-sample.ts", "rollout/types.ts"],
    ],
  },
  // The engine passes itself as a RolloutEngine (rollout-engine.ts): nothing here knows engine.ts.
  "rollout/": {
    may: [
      ...["check.ts", "errors.ts", "options.ts", "prompt.ts", "signals.ts", "stream.ts", "turns.ts"],
      ...["line-file.ts", "chat/", "tokenizer/"],
    ],
  },
  // The public API, and helpers that know no engine.
  "eval/": {
    may: ["index.ts", "check.ts", "errors.ts", "line-file.ts", "python/", "signals.ts"],
    packages: ["@lezer/common", "@lezer/python", "openai", "smol-toml"],
  },
  "server/": { may: ["index.ts"] },
  "cli/": {
    may: ["index.ts", "doctor.ts", "server/", "eval/", "rollout/"],
    packages: ["commander", "cli-progress"],
  },
};

// What a user could write: the package by its name, and nothing of ours behind it.
const kUserCode = {
  "": { may: [], packages: ["lockstep", "lockstep/eval", "cli-progress"] },
  "peers/": { may: [], packages: ["lockstep", "node-llama-cpp"] }, // bench/peers: installed only when asked for
};

const violations = [
  ...check("native", /\.(h|cpp|cc|cu|cuh)$/, kNative, includeOf),
  ...check("src", /\.(ts|mts)$/, kTypeScript, importsOf),
  ...check("examples", /\.(mjs|js|ts)$/, kUserCode, importsOf),
  ...check("bench", /\.(mjs|js|ts)$/, kUserCode, importsOf),
];
for (const violation of violations) console.log(violation);
console.log(`check-layers: ${violations.length} violation${violations.length === 1 ? "" : "s"}`);
if (violations.length > 0) process.exitCode = 1;

/** One line for each violation below `folder`. `dependencies(line)` lists what a line of a file asks for. */
function check(folder, extension, layers, dependencies) {
  const found = [];
  for (const file of filesBelow(join(root, folder), extension)) {
    const name = relative(join(root, folder), file);
    const layer = layerOf(name, layers);
    const shown = join(folder, name);
    if (layer === undefined) {
      found.push(`${shown}:1 is in no layer of scripts/check-layers.mjs`);
      continue;
    }
    readFileSync(file, "utf8")
      .split("\n")
      .forEach((line, i) => {
        for (const wanted of dependencies(line)) {
          if (isAllowed(wanted, name, layer, layers)) continue;
          found.push(`${shown}:${i + 1} imports ${wanted}, allowed: ${describe(layer, layers)}`);
        }
      });
  }
  return found;
}

function isAllowed(wanted, file, layer, layers) {
  if (layers === kNative) return isAllowedInclude(wanted, layer);
  if (wanted.startsWith("node:"))
    return wanted !== "node:module" || file === "native.ts" || layers === kUserCode;
  if (!wanted.startsWith(".")) return (layers[layer].packages ?? []).includes(wanted);
  const target = join(dirname(file), wanted).replace(/\.js$/, layers === kTypeScript ? ".ts" : ".js");
  if (target.startsWith("..")) return false;
  return isWithin(target, layer, layers);
}

/** `wanted` with its brackets or quotes. */
function isAllowedInclude(wanted, layer) {
  const header = wanted.slice(1, -1);
  const { system, only } = kNative[layer];
  if (wanted.startsWith('"')) return isWithin(header, layer, kNative);
  if (only) return only.test(header);
  return !kRestricted.test(header) || (system?.test(header) ?? false);
}

/** Whether `target` lies in `layer` itself or in one that it may use. */
function isWithin(target, layer, layers) {
  const home = layerOf(target, layers);
  return home === layer || layers[layer].may.some((one) => one === target || one === home || one === "");
}

function layerOf(name, layers) {
  const fitting = Object.keys(layers).filter(
    (layer) => name === layer || layer === "" || (layer.endsWith("/") && name.startsWith(layer)),
  );
  return fitting.sort((a, b) => b.length - a.length)[0];
}

function describe(layer, layers) {
  const { may, packages = [], system, only } = layers[layer];
  const patterns = [system, only].filter(Boolean).map(String);
  return [layer || "./", ...may.map((one) => one || "everything"), ...packages, ...patterns].join(" ");
}

function includeOf(line) {
  const include = line.match(/^\s*#\s*include\s*(<[^>]+>|"[^"]+")/);
  return include ? [include[1]] : [];
}

function importsOf(line) {
  const pattern = /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*)["']([^"']+)["']/g;
  if (/^\s*(\*|\/\/|\/\*)/.test(line)) return [];
  return [...line.matchAll(pattern)].map((match) => match[1]);
}

function filesBelow(directory, extension) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && extension.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}
