/**
 * Which tensors a Qwen3 checkpoint must hold, under which names and in which shapes, and the comparison with what its
 * files do hold. Main thread; pure. Must not open files.
 *
 * Names: causal checkpoints write `model.layers.…`, Qwen3-Embedding writes `layers.…`. Either, not a mixture; the
 * table always has `model.`. The head, where there is one, is `lm_head.weight` in both.
 */
import type { ModelConfig } from "./config.js";
import { quote, refuse } from "./refuse.js";

export interface ExpectedTensor {
  /** Canonical, with `model.`. */
  name: string;
  shape: number[];
}

/** A tensor as a file has it. */
export interface FoundTensor {
  name: string;
  dtype: string;
  shape: number[];
  /** Index into the checkpoint's files. */
  file: number;
  beginBytes: number;
  endBytes: number;
}

/** What weights may be stored as. The engine computes with BF16: the others are converted when they are loaded. */
export type StoredDtype = "BF16" | "F16" | "F32";
const kStoredDtypes: readonly string[] = ["BF16", "F16", "F32"] satisfies StoredDtype[];

/** A row of the table that native code maps: row-major, inside the file it names. */
export interface TensorEntry {
  /** Canonical, with `model.`. */
  name: string;
  dtype: StoredDtype;
  /** Index into the checkpoint's files. */
  file: number;
  /** From the start of the file; may be odd. */
  offsetBytes: number;
  shape: number[];
}

const kHead = "lm_head.weight";
/** Buffers that old exports carry and nobody needs: the reader computes them. */
const kIgnored = [/^(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq$/];

/** Every tensor of the model, in the order of use. The head is listed only where it is a tensor of its own. */
export function expectedTensors(config: ModelConfig): ExpectedTensor[] {
  const { hiddenSize: D, intermediateSize: F, headDim: d, vocabSize: V } = config;
  const q = config.numHeads * d;
  const kv = config.numKvHeads * d;
  const layer: [string, number[]][] = [
    ["input_layernorm", [D]],
    ["self_attn.q_proj", [q, D]],
    ["self_attn.k_proj", [kv, D]],
    ["self_attn.v_proj", [kv, D]],
    ["self_attn.q_norm", [d]],
    ["self_attn.k_norm", [d]],
    ["self_attn.o_proj", [D, q]],
    ["post_attention_layernorm", [D]],
    ["mlp.gate_proj", [F, D]],
    ["mlp.up_proj", [F, D]],
    ["mlp.down_proj", [D, F]],
  ];
  const expected: ExpectedTensor[] = [{ name: "model.embed_tokens.weight", shape: [V, D] }];
  for (let i = 0; i < config.numLayers; i += 1)
    for (const [name, shape] of layer) expected.push({ name: `model.layers.${i}.${name}.weight`, shape });
  expected.push({ name: "model.norm.weight", shape: [D] });
  if (!config.tieWordEmbeddings) expected.push({ name: kHead, shape: [V, D] });
  return expected;
}

export interface MatchedTensors {
  tensors: TensorEntry[];
  hasHead: boolean;
}

/**
 * The table, in the order of `expectedTensors`; or a refusal that names file, tensor and reason.
 * `paths` are the files that `found` points into, `where` the file to name for a tensor that is nowhere.
 */
export function matchTensors(
  config: ModelConfig,
  found: readonly FoundTensor[],
  paths: readonly string[],
  where: string,
): MatchedTensors {
  const bare = !found.some(({ name }) => name.startsWith("model."));
  const byName = new Map<string, FoundTensor>();
  for (const tensor of found) {
    if (kIgnored.some((pattern) => pattern.test(tensor.name))) continue;
    byName.set(bare && tensor.name !== kHead ? `model.${tensor.name}` : tensor.name, tensor);
  }
  const tensors: TensorEntry[] = [];
  const asWritten = (name: string) => (bare ? name.replace(/^model\./, "") : name);
  for (const expected of expectedTensors(config)) {
    const tensor = byName.get(expected.name);
    byName.delete(expected.name);
    if (tensor !== undefined) tensors.push(checked(tensor, expected, paths));
    else if (expected.name !== kHead || !headMayMiss(config, bare))
      throw refuse(
        where,
        `tensor ${quote(asWritten(expected.name))} is missing: Expected it with shape [${expected.shape}]`,
      );
  }
  refuseExtra(config, byName, paths);
  return { tensors, hasHead: config.tieWordEmbeddings || tensors.at(-1)?.name === kHead };
}

/** A backbone alone: it says so, or its names do. Qwen3-Embedding says Qwen3ForCausalLM and ships without `model.`. */
function headMayMiss(config: ModelConfig, bare: boolean): boolean {
  return bare || config.architecture === "Qwen3Model";
}

function checked(tensor: FoundTensor, expected: ExpectedTensor, paths: readonly string[]): TensorEntry {
  const { file, beginBytes, dtype, shape } = tensor;
  const path = paths[file] ?? "";
  if (shape.length !== expected.shape.length || shape.some((size, i) => size !== expected.shape[i]))
    throw refuse(
      path,
      `tensor ${quote(tensor.name)}: Expected shape [${expected.shape}], from config.json, but received [${shape.slice(0, 8)}]`,
    );
  if (!kStoredDtypes.includes(dtype))
    throw refuse(path, `tensor ${quote(tensor.name)}: Expected dtype BF16, F16 or F32 but received ${dtype}`);
  return {
    name: expected.name,
    dtype: dtype as StoredDtype,
    file,
    offsetBytes: beginBytes,
    shape,
  };
}

/** What is left must be a tied model's copy of the head, in the right shape; it is not used. */
function refuseExtra(
  config: ModelConfig,
  left: ReadonlyMap<string, FoundTensor>,
  paths: readonly string[],
): void {
  for (const [name, tensor] of left) {
    if (name === kHead) {
      checked(tensor, { name: kHead, shape: [config.vocabSize, config.hiddenSize] }, paths);
      continue;
    }
    const what = `a Qwen3 of ${config.numLayers} layers`;
    const hint = name.startsWith("model.") ? "" : " (other names here begin with 'model.')";
    throw refuse(
      paths[tensor.file] ?? "",
      `tensor ${quote(tensor.name)}: Expected only the tensors of ${what} but this is none of them${hint}`,
    );
  }
}
