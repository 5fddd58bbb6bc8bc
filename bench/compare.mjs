/**
 * Lockstep and its peers in one run, on the same weights and token ids:
 *
 *   node bench/compare.mjs CHECKPOINT --peer node-llama-cpp [--peer transformers] [--work prefill:512,decode:1,decode:16:4096]
 *                          [--rounds 3] [--threads 2] [--tokens 32] [--python .cache/peers/bin/python3] [--json FILE]
 *
 * Each piece of work runs once uncounted and then `--rounds` times; within a round Lockstep and the peers take turns, and which goes first changes. Printed are
 * medians, the spread (slowest / fastest round), the share of the floor that was measured before and after (read bandwidth, BF16 rate), and Lockstep's speed over each
 * peer's. `--json` appends a line for each figure. A shared hash of tokens means the same greedy text; with random weights near ties may part the ways.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measureFloors } from "lockstep";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: "string", multiple: true, default: [] },
    work: { type: "string", default: "prefill:128,prefill:512,decode:1,decode:4,decode:16" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: String(Math.min(2, cpus().length)) },
    tokens: { type: "string", default: "32" },
    python: { type: "string", default: ".cache/peers/bin/python3" },
    json: { type: "string" },
  },
});
const [checkpoint] = positionals;
if (!checkpoint) {
  console.error(
    "usage: node bench/compare.mjs CHECKPOINT --peer node-llama-cpp [--peer transformers] [--work …]",
  );
  process.exit(2);
}
const [rounds, threads, tokens] = [values.rounds, values.threads, values.tokens].map(Number);
const config = JSON.parse(readFileSync(join(checkpoint, "config.json"), "utf8"));
const tasks = values.work.split(",").map(parseTask);
const longest = Math.max(...tasks.map(({ batch, length }) => batch * (length + tokens + 16)));

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const kCommands = {
  lockstep: [process.execPath, here("peers/lockstep.mjs")],
  "node-llama-cpp": [process.execPath, here("peers/node-llama-cpp/peer.mjs")],
  transformers: [values.python, here("peers/transformers/peer.py")],
};

const floors = [await measureFloors({ threads })];
const runners = [];
for (const name of ["lockstep", ...values.peer]) runners.push(await startPeer(name));
const results = [];
for (const task of tasks) results.push(await measure(task));
for (const { stop } of runners) await stop();
floors.push(await measureFloors({ threads }));
report();

/** "prefill:LENGTH", or "decode:BATCH" with 128 tokens before it, or "decode:BATCH:LENGTH". */
function parseTask(text) {
  const [work, first, second] = text.split(":");
  const [batch, length] = work === "prefill" ? [1, Number(first)] : [Number(first), Number(second ?? 128)];
  return { name: text, work, batch, length };
}

/** Alternating rounds: seconds of each runner, the uncounted first round left out. */
async function measure(task) {
  const seconds = new Map(runners.map(({ name }) => [name, []]));
  const hashes = new Map();
  for (let round = 0; round <= rounds; ++round) {
    const question = {
      work: task.work,
      prompts: promptsOf(task, round),
      tokens: task.work === "prefill" ? 1 : tokens,
    };
    const order = round % 2 === 0 ? runners : [...runners].reverse();
    for (const { name, ask } of order) {
      const answer = await ask(question);
      hashes.set(name, createHash("sha256").update(JSON.stringify(answer.tokens)).digest("hex").slice(0, 12));
      if (round > 0) seconds.get(name).push(answer.seconds);
    }
  }
  return { task, seconds, hashes };
}

/** The same ids for all runners, others in each round. */
function promptsOf({ batch, length }, round) {
  let state = 12345 + round;
  const next = () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state % (config.vocab_size - 1);
  };
  return Array.from({ length: batch }, () => Array.from({ length }, next));
}

async function startPeer(name) {
  const [program, ...args] = kCommands[name];
  const child = spawn(program, [...args, checkpoint, String(threads), String(longest)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async () => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${name} ended; is it installed? See bench/peers/README.md`);
      if (value.startsWith("{")) return JSON.parse(value); // others are the peer's own talk
    }
  };
  const { version } = await read();
  return {
    name,
    version,
    async ask(question) {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return await read();
    },
    async stop() {
      child.stdin.end();
      await new Promise((resolve) => (child.exitCode === null ? child.once("close", resolve) : resolve()));
    },
  };
}

function report() {
  const ceiling = {
    bandwidth: Math.max(...floors.map(({ readBytesPerSecond }) => readBytesPerSecond)),
    flops: Math.max(...floors.map(({ flopsPerSecond }) => flopsPerSecond)),
  };
  console.log(
    `${cpus()[0].model.trim()}, ${threads} threads: read ${(ceiling.bandwidth / 1e9).toFixed(1)} GB/s, BF16 ${(ceiling.flops / 1e9).toFixed(0)} GFLOP/s`,
  );
  for (const { name, version } of runners) console.log(`${name} ${version}`);
  for (const { task, seconds, hashes } of results) {
    const floor = floorSeconds(task, ceiling);
    const ours = median(seconds.get("lockstep"));
    for (const { name, version } of runners) {
      const taken = seconds.get(name);
      const speed = tokensOf(task) / median(taken);
      const share = (100 * floor) / median(taken);
      const spread = Math.max(...taken) / Math.min(...taken);
      const ratio =
        name === "lockstep" ? "" : `  lockstep is ${(median(taken) / ours).toFixed(2)} times as fast`;
      console.log(
        `${task.name.padEnd(16)} ${name.padEnd(15)} ${speed.toFixed(1).padStart(9)} tokens/s  ${share.toFixed(0).padStart(3)} % of the floor  spread ${spread.toFixed(2)}  ${hashes.get(name)}${ratio}`,
      );
      const figure = {
        work: task.name,
        name,
        version,
        tokens_per_second: speed,
        floor_share: share / 100,
        seconds: taken,
        tokens: hashes.get(name),
      };
      const machine = { cpu: cpus()[0].model.trim(), threads, node: process.version, ...ceiling };
      if (values.json) appendFileSync(values.json, `${JSON.stringify({ ...figure, rounds, machine })}\n`);
    }
  }
}

function tokensOf({ work, batch, length }) {
  return work === "prefill" ? length : batch * (tokens - 1);
}

function median(list) {
  return [...list].sort((a, b) => a - b)[list.length >> 1];
}

/** The least that the work costs, as src/cli/bench/roofline.ts has it, without what attention adds. */
function floorSeconds({ work, batch, length }, { bandwidth, flops }) {
  const tied = config.tie_word_embeddings ? 1 : 2; // an embedding of its own is not read whole
  const head = config.vocab_size * config.hidden_size;
  const layers = statSync(join(checkpoint, "model.safetensors")).size / 2 - tied * head;
  if (work === "prefill")
    return Math.max((2 * (length * layers + head)) / flops, (2 * (layers + head)) / bandwidth);
  const kv =
    4 * (length + tokens / 2) * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
  const step = Math.max(
    (2 * (layers + head) + batch * kv) / bandwidth,
    (2 * batch * (layers + head)) / flops,
  );
  return (tokens - 1) * step;
}
