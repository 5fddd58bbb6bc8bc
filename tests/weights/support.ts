/** What the tests of weights share: checkpoints of one architecture with other weights, their tensors, comparisons. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, type LoadOptions, type NamedTensor } from "lockstep";
import { parseModelConfig } from "../../src/checkpoint/config.js";
import { expectedTensors } from "../../src/checkpoint/expected-tensors.js";
import { parseStrictJsonObject } from "../../src/checkpoint/strict-json.js";
import {
  configOf,
  type Shape,
  type WriteOptions,
  writeRandomCheckpoint,
} from "../model/random-checkpoint.js";
import { bf16, readSafetensors, type Tensor, writeSafetensors } from "../model/safetensors.js";
import { whatCounts } from "../reliability/support.js";

export const kShape: Shape = {
  ...{ layers: 2, hidden: 32, heads: 4, kvHeads: 2, headDim: 8, mlp: 48 },
  ...{ vocab: 64, context: 16_000, tied: false },
};

/** In a new directory, which the caller removes. */
export function writeModel(seed: number, change: Partial<Shape> = {}, options: WriteOptions = {}): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-weights-"));
  writeRandomCheckpoint(directory, { ...kShape, ...change }, { seed, ...options });
  return directory;
}

/** Like writeModel, for large ones: its numbers are less random, and quickly made. */
export function writeLargeModel(seed: number, change: Partial<Shape>): string {
  const directory = mkdtempSync(join(tmpdir(), "lockstep-weights-"));
  const path = join(directory, "config.json");
  writeFileSync(path, JSON.stringify(configOf({ ...kShape, ...change })));
  const config = parseModelConfig(parseStrictJsonObject(readFileSync(path), path), path);
  const tensors = expectedTensors(config).map(({ name, shape }) => {
    const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < values.length; ++i) values[i] = (((i % 8191) * (seed + 7)) % 1009) / 1009 - 0.4;
    return [name, { shape, values }] as const;
  });
  writeSafetensors(join(directory, "model.safetensors"), new Map(tensors));
  return directory;
}

export const readTensors = (directory: string): Map<string, Tensor> =>
  readSafetensors(join(directory, "model.safetensors"));

/** BF16 bits of values that are BF16 already. */
export function bitsOf(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(Float32Array.from(values, bf16).buffer);
  return Uint16Array.from(bits, (word) => word >>> 16);
}

export const asBF16 = ({ shape, values }: Tensor): NamedTensor => ({
  dtype: "BF16",
  shape,
  data: bitsOf(values),
});

export const kLoad: LoadOptions = { device: "cpu", threads: 2, maxSequences: 64, kvCacheTokens: 16_384 };

/** What an engine says, bit for bit, of prompts that fill several blocks. */
export async function voice(engine: Engine): Promise<unknown> {
  const prompts = Array.from({ length: 4 }, (_, i) => ({
    tokens: Array.from({ length: 30 + i }, (_, j) => (7 * i + 3 * j) % kShape.vocab),
  }));
  const options = { maxTokens: 12, ignoreEos: true, seed: 5, logprobs: true, topLogprobs: 3 };
  const generations = await engine.generate(prompts, options);
  const { logprobs } = await engine.score(prompts[0]!);
  return { generations: generations.map(whatCounts), logprobs };
}

/** The same of an engine that was loaded with this checkpoint. */
export async function voiceOf(directory: string, options: LoadOptions = kLoad): Promise<unknown> {
  const engine = await Engine.load(directory, options);
  try {
    return await voice(engine);
  } finally {
    await engine.close();
  }
}
