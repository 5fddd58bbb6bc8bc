/**
 * A checkpoint directory → configuration and tensor table. The one entry of this folder.
 * Async; reads config.json, generation_config.json, the index and the headers of the weights, never the weights.
 * Must not list the directory: it reads the index's shards, else model.safetensors, and whatever lies beside them
 * stays unread. Native code maps the files, compares their sizes with `files`, and checks every row again.
 */
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { LockstepError } from "../errors.js";
import { type ModelConfig, parseModelConfig } from "./config.js";
import { type FoundTensor, matchTensors, type TensorEntry } from "./expected-tensors.js";
import { codeOf, type FileStamp, nameExists, readSmallFile } from "./files.js";
import { type GenerationConfig, kNoGenerationConfig, parseGenerationConfig } from "./generation-config.js";
import { describe, quote, refuse } from "./refuse.js";
import { readSafetensorsHeader } from "./safetensors.js";
import { parseStrictJsonObject } from "./strict-json.js";

export interface Checkpoint {
  directory: string;
  config: ModelConfig;
  generationConfig: GenerationConfig;
  /** What ends a text: generation_config.json's ids, else config.json's. */
  eosTokenIds: number[];
  /** False where the model can embed but not predict tokens. A tied model has a head: its embedding. */
  hasHead: boolean;
  files: FileStamp[];
  /** In the order of use: embedding, layers, norm, head if it is not tied. */
  tensors: TensorEntry[];
}

const kIndexName = "model.safetensors.index.json";

/** Reads and checks everything but the weights' values. */
export async function openCheckpoint(directory: string): Promise<Checkpoint> {
  await checkDirectory(directory);
  const configPath = join(directory, "config.json");
  const config = parseModelConfig(
    parseStrictJsonObject(await readSmallFile(configPath), configPath),
    configPath,
  );
  const generationConfig = await readGenerationConfig(join(directory, "generation_config.json"));
  const { files, found, where } = await readWeights(directory);
  const paths = files.map(({ path }) => path);
  return {
    directory,
    config,
    generationConfig,
    eosTokenIds: generationConfig.eosTokenIds.length > 0 ? generationConfig.eosTokenIds : config.eosTokenIds,
    ...matchTensors(config, found, paths, where),
    files,
  };
}

async function checkDirectory(directory: string): Promise<void> {
  const wanted = "Expected a directory with config.json and model.safetensors, or a Hub id (owner/name),";
  const missing = (reason: string, cause?: unknown) =>
    new LockstepError("MODEL_NOT_FOUND", `${directory}: ${wanted} but ${reason}`, { cause });
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(directory)).isDirectory();
  } catch (cause) {
    const code = codeOf(cause);
    throw missing(
      code === "ENOENT" ? "there is nothing of this name" : `it could not be opened (${code})`,
      cause,
    );
  }
  if (!isDirectory) throw missing("this is not a directory");
}

async function readGenerationConfig(path: string): Promise<GenerationConfig> {
  if (!(await nameExists(path))) return kNoGenerationConfig;
  return parseGenerationConfig(parseStrictJsonObject(await readSmallFile(path), path), path);
}

interface Weights {
  files: FileStamp[];
  found: FoundTensor[];
  /** The file that should have named a tensor that is nowhere. */
  where: string;
}

async function readWeights(directory: string): Promise<Weights> {
  const indexPath = join(directory, kIndexName);
  if (await nameExists(indexPath)) return readShards(directory, indexPath);
  const path = join(directory, "model.safetensors");
  const { file, tensors } = await readSafetensorsHeader(path);
  return { files: [file], found: tensors.map((tensor) => ({ ...tensor, file: 0 })), where: path };
}

/** The index and its shards must agree both ways: each tensor in the shard that the index names, and no other. */
async function readShards(directory: string, indexPath: string): Promise<Weights> {
  const shardOf = await readWeightMap(indexPath);
  const files: FileStamp[] = [];
  const found: FoundTensor[] = [];
  const seen = new Set<string>();
  for (const shard of [...new Set(shardOf.values())].sort()) {
    const { file, tensors } = await readSafetensorsHeader(join(directory, shard));
    for (const tensor of tensors) {
      const named = shardOf.get(tensor.name);
      if (named !== shard)
        throw refuse(
          file.path,
          `tensor ${quote(tensor.name)}: Expected what ${kIndexName} lists for this shard but it lists this tensor ${named === undefined ? "nowhere" : `in ${quote(named)}`}`,
        );
      seen.add(tensor.name);
      found.push({ ...tensor, file: files.length });
    }
    files.push(file);
  }
  for (const [name, shard] of shardOf)
    if (!seen.has(name))
      throw refuse(
        join(directory, shard),
        `tensor ${quote(name)} is missing: ${kIndexName} lists it in this shard`,
      );
  return { files, found, where: indexPath };
}

async function readWeightMap(indexPath: string): Promise<Map<string, string>> {
  const index = parseStrictJsonObject(await readSmallFile(indexPath), indexPath);
  const weightMap = index.get("weight_map");
  if (!(weightMap instanceof Map) || weightMap.size === 0)
    throw refuse(
      indexPath,
      `Expected an object of tensor names for weight_map but received ${describe(weightMap)}`,
    );
  for (const [name, shard] of weightMap)
    if (typeof shard !== "string" || !isBareShardName(shard))
      throw refuse(
        indexPath,
        `tensor ${quote(name)}: Expected a file name ending in .safetensors, without a folder, in weight_map but received ${describe(shard)}`,
      );
  return weightMap as Map<string, string>;
}

function isBareShardName(name: string): boolean {
  return name.endsWith(".safetensors") && basename(name) === name && !/[\\:\0]/.test(name);
}
