/**
 * Which files of a repository the readers of src/checkpoint and src/tokenizer open: those, and no others, are fetched.
 * Any thread; reads an index. Must accept no name that could leave the snapshot's folder, whoever wrote the index.
 */
import { basename } from "node:path";
import { readSmallFile } from "../checkpoint/files.js";
import { describe, quote, refuse } from "../checkpoint/refuse.js";
import { parseStrictJsonObject } from "../checkpoint/strict-json.js";

export const kConfig = "config.json";
export const kIndex = "model.safetensors.index.json";
/** The weights where there is no index. */
export const kSingle = "model.safetensors";
/** May be missing from a repository. */
export const kOptional = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
] as const;

/** The shards an index names, sorted. The rule for names is the checkpoint reader's: a bare .safetensors name. */
export async function shardNames(indexPath: string): Promise<string[]> {
  const index = parseStrictJsonObject(await readSmallFile(indexPath), indexPath);
  const weightMap = index.get("weight_map");
  if (!(weightMap instanceof Map) || weightMap.size === 0)
    throw refuse(
      indexPath,
      `Expected an object of tensor names for weight_map but received ${describe(weightMap)}`,
    );
  const names = new Set<string>();
  for (const [tensor, name] of weightMap) {
    if (typeof name !== "string" || !isBareShardName(name))
      throw refuse(
        indexPath,
        `tensor ${quote(tensor)}: Expected a file name ending in .safetensors, without a folder, in weight_map but received ${describe(name)}`,
      );
    names.add(name);
  }
  return [...names].sort();
}

function isBareShardName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a name with one of them is what this refuses
  return name.endsWith(".safetensors") && basename(name) === name && !/[\\/:\x00-\x1f]/.test(name);
}
