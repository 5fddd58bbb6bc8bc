/** The requests of the contract suite: chats and random prompts of every length that an edge lies at. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type SamplingOptions, Tokenizer } from "lockstep";
import { randomSource, randomTokens } from "../model/random-checkpoint.js";
import type { Case } from "./suite.js";

const pathOf = (name: string) => fileURLToPath(new URL(`../../examples/demo/${name}`, import.meta.url));

export const kDemoModel = pathOf("model");

/** Around blocks (16), chunks (3, 16, 64) and attention splits (256). */
const kEdges = [
  1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 127, 128, 129, 240, 255, 256, 257, 300, 511, 513,
];

/** Greedy and sampled by turns. All run to maxTokens, so that they meet each other in many steps. */
export function samplingOf(index: number, maxTokens: number): SamplingOptions {
  const common = { maxTokens, ignoreEos: true, logprobs: true, topLogprobs: 1 + (index % 3) };
  const seed = 1000 + index;
  switch (index % 4) {
    case 0:
      return { ...common, temperature: 0, topK: 20 };
    case 1:
      return { ...common, temperature: 0.8, topK: 20, topP: 0.95, seed };
    case 2:
      return { ...common, temperature: 1.5, topP: 0.9, seed, sampleIndex: index };
    default:
      return { ...common, temperature: 1, topK: 0, topP: 1, seed };
  }
}

/** `count` prompts of random tokens, edges first, none longer than `longest`. */
export function randomCases(
  count: number,
  vocab: number,
  longest: number,
  maxTokens: number,
  seed = 1,
): Case[] {
  const random = randomSource(seed);
  const edges = kEdges.filter((length) => length <= longest);
  return Array.from({ length: count }, (_, i) => {
    const length = edges[i] ?? 1 + Math.floor(random() ** 2 * Math.min(longest, 96));
    return { tokens: randomTokens(random, length, vocab), sampling: samplingOf(i, maxTokens) };
  });
}

/** `count` of the demo's tasks as conversations; every eighth with its tools, which makes 400 tokens of it. */
export async function chatCases(count: number, maxTokens: number): Promise<Case[]> {
  const tokenizer = await Tokenizer.fromDirectory(kDemoModel);
  const tools = JSON.parse(readFileSync(pathOf("tools.json"), "utf8"));
  const system = readFileSync(pathOf("system.txt"), "utf8");
  const tasks = readFileSync(pathOf("tasks.jsonl"), "utf8").trim().split("\n").slice(0, count);
  return tasks.map((line, i) => {
    const messages = [
      { role: "system", content: system },
      { role: "user", content: JSON.parse(line).request as string },
    ];
    const options = { addGenerationPrompt: true, ...(i % 8 === 0 && { tools }) };
    const tokens = Array.from(tokenizer.encode(tokenizer.applyChatTemplate(messages, options)));
    return { tokens, sampling: samplingOf(i, maxTokens) };
  });
}
