/**
 * The corpus of RELIABILITY.md, R1: malformed checkpoints with the refusal each must get, and odd ones that must load.
 * Generated: each base case times its variations, so that a case names exactly what is wrong with it.
 * Test support, pure; corpus.test.ts writes and opens the cases.
 */
import { type BadCase, badCase, inFile } from "./corpus-case.js";
import { configCases } from "./corpus-config.js";
import { headerCases } from "./corpus-header.js";
import { indexCases } from "./corpus-index.js";
import {
  type Entry,
  type Files,
  kLmHead,
  kWeights,
  safetensors,
  shardedFiles,
  tinyConfig,
  tinyFiles,
  tinySpecs,
} from "./tiny.js";

export interface GoodCase {
  name: string;
  files: Files;
  hasHead?: boolean;
}

const kShard1 = "model-00001-of-00002.safetensors";

export function badCases(): BadCase[] {
  return [...headerCases(), ...configCases(), ...tensorCases(), ...indexCases(), ...fileCases()];
}

const literal = (text: string) => new RegExp(text.replace(/[.[\]]/g, "\\$&"));

/** Every tensor of the model: missing, wrong shape, wrong dtype. */
function tensorCases(): BadCase[] {
  const cases: BadCase[] = [];
  const one = (name: string, specs: ReturnType<typeof tinySpecs>, ...message: RegExp[]) =>
    cases.push(badCase(name, tinyFiles({ [kWeights]: safetensors(specs) }), inFile(kWeights), ...message));
  for (const [i, spec] of tinySpecs().entries()) {
    const tensor = literal(`tensor '${spec.name}'`);
    const replaced = (change: Partial<typeof spec>) =>
      tinySpecs().map((s, j) => (i === j ? { ...s, ...change } : s));
    one(
      `missing ${spec.name}`,
      tinySpecs().filter((_, j) => i !== j),
      tensor,
      /is missing: Expected it with shape/,
    );
    one(
      `one row more: ${spec.name}`,
      replaced({ shape: spec.shape.map((n, k) => (k === 0 ? n + 1 : n)) }),
      tensor,
      /Expected shape/,
    );
    one(`extra dimension: ${spec.name}`, replaced({ shape: [...spec.shape, 1] }), tensor, /Expected shape/);
    if (spec.shape.length === 2 && spec.shape[0] !== spec.shape[1])
      one(
        `transposed: ${spec.name}`,
        replaced({ shape: [...spec.shape].reverse() }),
        tensor,
        /Expected shape/,
      );
    if (i % 3 === 0)
      one(
        `dtype I16: ${spec.name}`,
        replaced({ dtype: "I16" }),
        tensor,
        /Expected dtype BF16, F16 or F32 but received I16/,
      );
    if (i % 3 === 1)
      one(
        `dtype F64: ${spec.name}`,
        replaced({ dtype: "F64" }),
        tensor,
        /Expected dtype BF16, F16 or F32 but received F64/,
      );
    if (i % 3 === 2)
      one(`no elements: ${spec.name}`, replaced({ shape: [0, ...spec.shape] }), tensor, /Expected shape/);
  }
  for (const name of [
    "extra",
    "model.layers.2.input_layernorm.weight",
    "model.layers.0.self_attn.q_proj.bias",
    "model.layers.00.input_layernorm.weight",
    "model.model.norm.weight",
    "MODEL.norm.weight",
    "model.norm.weight ",
    "model.layers.0.self_attn.rotary_emb.inv_freq.x",
    "model.layers.0.mlp.gate.weight",
    "model.layers.0.self_attn.q_proj.weight_scale",
    "__proto__",
    "constructor",
    "",
    "\u0000",
    "x".repeat(5000),
  ]) {
    const bytes = safetensors(
      [...tinySpecs(), { name: "PLACEHOLDER", dtype: "BF16", shape: [2] }],
      undefined,
      0,
    );
    const key = JSON.stringify(name);
    const text = bytes
      .subarray(8, bytes.lastIndexOf("}") + 1)
      .toString()
      .replace('"PLACEHOLDER"', () => key);
    const file = Buffer.concat([
      u64(text.length),
      Buffer.from(text),
      bytes.subarray(bytes.lastIndexOf("}") + 1),
    ]);
    cases.push(
      badCase(
        `extra tensor ${key.slice(0, 40)}`,
        tinyFiles({ [kWeights]: file }),
        inFile(kWeights),
        /tensor '.*': Expected only the tensors of a Qwen3 of 2 layers/,
      ),
    );
  }
  const bareNorm = [...tinySpecs(), { name: "norm.weight", dtype: "BF16", shape: [6] }];
  one(
    "names with and without model.",
    bareNorm,
    /tensor 'norm\.weight'/,
    /other names here begin with 'model\.'/,
  );
  one(
    "tied head of a wrong shape",
    [...tinySpecs(), { ...kLmHead, shape: [6, 11] }],
    /tensor 'lm_head\.weight'/,
    /Expected shape \[11,6\]/,
  );
  one(
    "tied head of a wrong dtype",
    [...tinySpecs(), { ...kLmHead, dtype: "I64" }],
    /tensor 'lm_head\.weight'/,
    /Expected dtype BF16/,
  );
  cases.push(
    badCase(
      "untied without head",
      tinyFiles({ "config.json": JSON.stringify(tinyConfig({ tie_word_embeddings: false })) }),
      inFile(kWeights),
      /tensor 'lm_head\.weight' is missing/,
    ),
  );
  return cases;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function fileCases(): BadCase[] {
  const cases: BadCase[] = [];
  for (const file of ["config.json", kWeights]) {
    const one = (name: string, entry: Entry | undefined, ...message: RegExp[]) =>
      cases.push(badCase(`${file} ${name}`, tinyFiles({ [file]: entry }), inFile(file), ...message));
    one("absent", undefined, /Expected this file but it does not exist/);
    one("a directory", { directory: true }, /found a directory/);
    one("a dangling link", { link: "blobs/absent" }, /symbolic link whose target does not exist/);
    one("a link to itself", { link: file }, /symbolic links that lead in a circle/);
    one("a link to a directory", { link: "." }, /found a directory/);
    one("a device", { link: "/dev/zero" }, /found a device, pipe or socket/);
    one("under a file", { link: "generation_config.json/x" }, /could not be opened \(ENOTDIR\)/);
    one("empty", "", /Expected/);
  }
  cases.push(
    badCase(
      "generation_config.json a dangling link",
      tinyFiles({ "generation_config.json": { link: "x" } }),
      /generation_config\.json: .*target does not exist/,
    ),
  );
  cases.push(
    badCase(
      "weights only as pytorch_model.bin",
      tinyFiles({ [kWeights]: undefined, "pytorch_model.bin": "x" }),
      inFile(kWeights),
      /does not exist/,
    ),
  );
  cases.push(
    badCase(
      "weights only under another name",
      tinyFiles({ [kWeights]: undefined, "weights.safetensors": safetensors(tinySpecs()) }),
      inFile(kWeights),
      /does not exist/,
    ),
  );
  cases.push(badCase("empty directory", {}, /config\.json: Expected this file but it does not exist/));
  return cases;
}

export function goodCases(): GoodCase[] {
  const untied = JSON.stringify(tinyConfig({ tie_word_embeddings: false }));
  const model = (changes = {}) => JSON.stringify(tinyConfig({ architectures: ["Qwen3Model"], ...changes }));
  const weights = (file: Buffer, files: Record<string, Entry | undefined> = {}) =>
    tinyFiles({ [kWeights]: file, ...files });
  const real = safetensors(tinySpecs());
  const ofMixedTypes = tinySpecs().map((spec, i) => ({ ...spec, dtype: ["BF16", "F16", "F32"][i % 3]! }));
  const reversed = safetensors(tinySpecs().reverse());
  const cases: GoodCase[] = [
    { name: "plain", files: tinyFiles() },
    { name: "sharded", files: shardedFiles() },
    {
      name: "sharded, with a stale model.safetensors beside",
      files: shardedFiles({ [kWeights]: "rubbish" }),
    },
    {
      name: "symbolic link to the weights",
      files: weights(real, { [kWeights]: { link: "blobs/abc" }, "blobs/abc": real }),
    },
    {
      name: "links to links",
      files: weights(real, {
        [kWeights]: { link: "a" },
        a: { link: "b" },
        b: real,
        "config.json": { link: "c" },
        c: JSON.stringify(tinyConfig()),
      }),
    },
    {
      name: "sharded over links",
      files: shardedFiles({ [kShard1]: { link: "blobs/1" }, "blobs/1": shardedFiles()[kShard1] }),
    },
    {
      name: "other files beside the weights",
      files: tinyFiles({
        "model-00001-of-00009.safetensors": "junk",
        "pytorch_model.bin": "junk",
        "optimizer.pt": "junk",
        "consolidated.safetensors": "junk",
        sub: { directory: true },
        "modeling_qwen3.py": "boom()",
      }),
    },
    { name: "no generation_config.json", files: tinyFiles({ "generation_config.json": undefined }) },
    { name: "no __metadata__", files: weights(safetensors(tinySpecs(), undefined)) },
    { name: "empty __metadata__", files: weights(safetensors(tinySpecs(), {})) },
    {
      name: "__metadata__ with __proto__",
      files: weights(safetensors(tinySpecs(), JSON.parse('{"__proto__":"x"}'))),
    },
    { name: "tensors in another order", files: weights(reversed) },
    { name: "head in a tied checkpoint", files: weights(safetensors([...tinySpecs(), kLmHead])) },
    { name: "F16 and F32 tensors", files: weights(safetensors(ofMixedTypes)) },
    {
      name: "F32 named by config.json",
      files: tinyFiles({ "config.json": JSON.stringify(tinyConfig({ dtype: "float32" })) }),
    },
    { name: "untied", files: weights(safetensors([kLmHead, ...tinySpecs()]), { "config.json": untied }) },
    {
      name: "rotary_emb.inv_freq beside",
      files: weights(
        safetensors([
          ...tinySpecs(),
          { name: "model.layers.1.self_attn.rotary_emb.inv_freq", dtype: "F32", shape: [2] },
        ]),
      ),
    },
    { name: "names without model.", files: weights(safetensors(tinySpecs("")), { "config.json": model() }) },
    {
      name: "names without model., causal and tied",
      files: weights(safetensors(tinySpecs(""))),
    },
    {
      name: "names without model., causal, untied, no head",
      files: weights(safetensors(tinySpecs("")), { "config.json": untied }),
      hasHead: false,
    },
    {
      name: "Qwen3Model, untied, no head",
      files: weights(safetensors(tinySpecs()), { "config.json": model({ tie_word_embeddings: false }) }),
      hasHead: false,
    },
    {
      name: "Qwen3Model, untied, with a head",
      files: weights(safetensors([...tinySpecs(), kLmHead]), {
        "config.json": model({ tie_word_embeddings: false }),
      }),
    },
  ];
  for (let padding = 1; padding < 8; padding += 1)
    cases.push({
      name: `header padded with ${padding} spaces: odd offsets`,
      files: weights(safetensors(tinySpecs(), undefined, padding)),
    });
  return cases;
}
