/** The golden models below `shared` (goldens/README.md says who made them): where they lie and what they hold. */
import { readFileSync } from "node:fs";
import { sharedPath } from "../support/shared.js";
import { readSafetensors } from "./safetensors.js";

export const kCausalModels = [
  "tied-gqa2",
  "untied-gqa4-headdim128",
  "gqa8-theta1e4",
  "mha-odd-sizes",
  "deep-sharded",
  "yarn-x4",
] as const;

export interface GoldenPrompt {
  tokens: number[];
  /** Named as in the file: logits_f32, logits_bf16, hidden_f32 … */
  tensor(name: string): Float32Array;
  greedy: { tokens: number[]; gaps: number[] };
}

export const goldenDirectory = (model: string): string => sharedPath("goldens", "models", model);

export function readGolden(model: string): GoldenPrompt[] {
  const directory = goldenDirectory(model);
  const golden = JSON.parse(readFileSync(`${directory}/golden.json`, "utf8"));
  const tensors = readSafetensors(`${directory}/golden.safetensors`);
  return golden.prompts.map((tokens: number[], i: number) => ({
    tokens,
    tensor: (name: string) => tensors.get(`${i}.${name}`)!.values,
    greedy: golden.greedy[i],
  }));
}

/** The yardstick: how far transformers' own BF16 run lies from its float32 run, over all prompts of a model. */
export function yardstick(prompts: GoldenPrompt[]): number {
  return rmsOver(prompts, (prompt) => prompt.tensor("logits_bf16"), "logits_f32");
}

/** Root mean square of `ours` − the golden tensor over all prompts of a model. */
export function rmsOver(
  prompts: GoldenPrompt[],
  ours: (prompt: GoldenPrompt) => ArrayLike<number>,
  name: string,
): number {
  let squares = 0;
  let count = 0;
  for (const prompt of prompts) {
    const golden = prompt.tensor(name);
    const values = ours(prompt);
    if (values.length !== golden.length)
      throw new Error(`lengths differ: ${values.length} and ${golden.length}`);
    for (let i = 0; i < golden.length; ++i) squares += (values[i]! - golden[i]!) ** 2;
    count += golden.length;
  }
  return Math.sqrt(squares / count);
}
