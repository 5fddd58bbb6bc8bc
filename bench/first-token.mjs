/**
 * Load to first token, each time in a new process: what a script pays before its first word.
 *
 *   node bench/first-token.mjs [directory] [rounds]
 *
 * The directory defaults to the checkpoint that make-checkpoint.mjs writes for 0.6B; put a tokenizer's files beside the
 * weights to have them counted, too: then the prompt is a text. The first round warms the page cache and is not counted. Prints one JSON line:
 * milliseconds from the process's start (Node's own start-up included) to the first token, min, median and max.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Engine } from "lockstep";

const TEXT = "The first word of an answer is";
const IDS = { tokens: Array.from({ length: 8 }, (_, i) => i + 1) };

async function firstTokenMs(directory) {
  const prompt = existsSync(join(directory, "tokenizer.json")) ? TEXT : IDS;
  const engine = await Engine.load(directory);
  try {
    await engine.stream(prompt, { temperature: 0, maxTokens: 2, ignoreEos: true }).next();
    return Date.now() - performance.timeOrigin;
  } finally {
    await engine.close();
  }
}

const [first, second] = process.argv.slice(2);
if (first === "--child") {
  console.log(await firstTokenMs(second));
} else {
  const directory = resolve(first ?? fileURLToPath(new URL("../.cache/bench/qwen3-0.6B", import.meta.url)));
  const rounds = Number(second ?? 7);
  const script = fileURLToPath(import.meta.url);
  const times = [];
  for (let round = 0; round <= rounds; ++round) {
    const { stdout } = await promisify(execFile)(process.execPath, [script, "--child", directory]);
    if (round > 0) times.push(Number(stdout));
  }
  times.sort((a, b) => a - b);
  const [min, median, max] = [times[0], times[times.length >> 1], times.at(-1)].map(Math.round);
  console.log(
    JSON.stringify({ work: "load to first token", directory, rounds, min, median, max, unit: "ms" }),
  );
}
