/**
 * Decode and prefill speeds of the whole engine on a GPU, one JSON object a line:
 *
 *   node bench/cuda/engine.mjs DIRECTORY [--decode 1,8,64,256] [--context 128] [--tokens 64] [--prefill 512,2048,8192]
 *   node bench/cuda/engine.mjs DIRECTORY --load 256    # so many requests at once, in and out uniform in 100 ... 1,024
 *
 * DIRECTORY is a checkpoint that make-checkpoint.mjs writes. Random prompts, greedy, no end of sequence, no prefix cache;
 * the first round warms up, then the median of three. `bytesPerStep` are the weights: what a decode step must read at least.
 */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { doctor, Engine } from "lockstep";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "cuda:0" },
    decode: { type: "string", default: "1,8,64,256" },
    context: { type: "string", default: "128" },
    tokens: { type: "string", default: "64" },
    prefill: { type: "string", default: "512,2048,8192" },
    load: { type: "string", default: "0" },
  },
});
const [directory] = positionals;
const listOf = (text) => text.split(",").filter(Boolean).map(Number);
const batches = listOf(values.decode);
const [context, newTokens, load] = [values.context, values.tokens, values.load].map(Number);
const weightBytes = statSync(join(directory, "model.safetensors")).size;

let state = 1;
const uniform = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const randomPrompt = (length) => ({ tokens: Array.from({ length }, () => Math.floor(uniform() * 150_000)) });
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const print = (line) => console.log(JSON.stringify(line));

const start = performance.now();
const engine = await Engine.load(directory, {
  device: values.device,
  maxSequences: Math.max(...batches, load),
  maxBatchTokens: 2048,
  prefixCache: false,
});
const loadSeconds = (performance.now() - start) / 1000;
print({
  model: directory.split("/").at(-1),
  computePath: engine.computePath,
  devices: doctor().cuda.devices,
  loadSeconds,
  weightBytes,
});
if (load > 0) {
  await underLoad(load);
} else {
  for (const batch of batches) await decode(batch);
  for (const length of listOf(values.prefill)) await prefill(length);
}
await engine.close();

/** Tokens per second of all sequences together, from the last one's first token on. */
async function decode(batch) {
  const prompts = Array.from({ length: batch }, () => randomPrompt(context));
  const rates = [];
  const hash = createHash("sha256");
  for (let round = 0; round <= 3; round++) {
    let started = 0;
    let done = 0;
    let from = { done: 0, at: 0 };
    await Promise.all(
      prompts.map(async (prompt) => {
        let first = true;
        const output = engine.stream(prompt, { temperature: 0, maxTokens: newTokens, ignoreEos: true });
        for await (const { tokens } of output) {
          if (round === 0) hash.update(`${batch === 1 ? tokens : ""}`);
          done += tokens.length;
          if (first && ++started === batch) from = { done, at: performance.now() };
          first = false;
        }
      }),
    );
    if (round > 0) rates.push(((done - from.done) * 1000) / (performance.now() - from.at));
  }
  const tokensPerSecond = median(rates);
  const stepMicroseconds = (1e6 * batch) / tokensPerSecond;
  const readGBps = (weightBytes * tokensPerSecond) / batch / 1e9;
  print({
    work: "decode",
    batch,
    context,
    newTokens,
    tokensPerSecond,
    stepMicroseconds,
    readGBps,
    sha256: batch === 1 ? hash.digest("hex") : undefined,
  });
}

async function prefill(length) {
  const rates = [];
  for (let round = 0; round <= 3; round++) {
    const prompt = randomPrompt(length);
    const at = performance.now();
    await engine.generate(prompt, { temperature: 0, maxTokens: 1, ignoreEos: true });
    if (round > 0) rates.push((length * 1000) / (performance.now() - at));
  }
  print({ work: "prefill", length, tokensPerSecond: median(rates) });
}

/** nano-vllm's workload: prompts and outputs of uniform lengths, all at once. */
async function underLoad(count) {
  const length = () => 100 + Math.floor(uniform() * 925);
  const requests = Array.from({ length: count }, () => ({
    prompt: randomPrompt(length()),
    maxTokens: length(),
  }));
  await engine.generate(randomPrompt(100), { temperature: 0, maxTokens: 8, ignoreEos: true });
  const at = performance.now();
  const outputs = await Promise.all(
    requests.map(({ prompt, maxTokens }) =>
      engine.generate(prompt, { temperature: 0.6, maxTokens, ignoreEos: true }),
    ),
  );
  const seconds = (performance.now() - at) / 1000;
  const outputTokens = outputs.reduce((sum, { tokens }) => sum + tokens.length, 0);
  print({
    work: "load",
    requests: count,
    outputTokens,
    seconds,
    tokensPerSecond: outputTokens / seconds,
    steps: engine.stats().steps,
  });
}
