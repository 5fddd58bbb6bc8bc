/**
 * What sharing a prompt saves: groups of n samples of one prompt, against the same samples asked for one by one.
 *
 *   node bench/rollouts.mjs [MODEL] [--prompt 512] [--tokens 64] [--groups 4] [--n 8] [--rounds 5]
 *                           [--device auto] [--threads N] [--note TEXT]
 *
 * MODEL, a directory or a Hub id, defaults to the demo's; make-checkpoint.mjs makes one of a real shape. Both ways draw the
 * same samples (seed and sampleIndex are given) on one engine; asked for one by one, each has a cacheSalt of its own, so
 * that it shares no prompt. By the contract they get the same bits: runs that disagree on a token or a logprob are an
 * error. Before each run the prefix cache is flushed; the two ways alternate, and so does which comes first.
 *
 * Prints a line a round, and one JSON line: median, min and max of the rounds, and of each round's ratio, in time and, for a
 * machine that does other things besides, in CPU time.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { doctor, Engine } from "lockstep";

const fromRoot = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const numbers = { prompt: "512", tokens: "64", groups: "4", n: "8", rounds: "5" };
const text = (standard) => ({ type: "string", ...(standard && { default: standard }) });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ...Object.fromEntries(Object.entries(numbers).map(([name, standard]) => [name, text(standard)])),
    ...{ device: text("auto"), threads: text(), note: text() },
  },
});
const positive = (name) => {
  const number = Number(values[name]);
  if (Number.isSafeInteger(number) && number > 0) return number;
  console.error(`Expected an integer above 0 for --${name} but received '${values[name]}'`);
  process.exit(2);
};
const settings = Object.fromEntries(Object.keys(numbers).map((name) => [name, positive(name)]));
const { prompt, tokens, groups, n, rounds } = settings;
const model = positionals[0] ?? fromRoot("examples/demo/model");

function commitOf() {
  try {
    const git = ["-C", fromRoot("."), "describe", "--always", "--dirty", "--exclude=*"];
    return execFileSync("git", git, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown"; // no checkout
  }
}

const commit = commitOf(); // now: a checkout may change under a long run
const engine = await Engine.load(model, {
  device: values.device,
  maxContext: prompt + tokens,
  ...(values.threads && { threads: positive("threads") }),
});

// Group g's prompt: a first id or two that no other has, then the same for all; ids of any vocabulary of a few hundred.
const promptOf = (g) => ({
  tokens: Array.from({ length: prompt }, (_, i) => (i < 2 ? (g >> (8 * i)) & 255 : i % 256)),
});
const each = (count, make) => Array.from({ length: count }, (_, i) => make(i));
const ways = {
  shared: (count) => each(count, (g) => ({ prompt: promptOf(g), n, sampling: { seed: g } })),
  separate: (count) =>
    each(count * n, (i) => {
      const [seed, sampleIndex] = [Math.floor(i / n), i % n];
      return { prompt: promptOf(seed), sampling: { seed, sampleIndex, cacheSalt: `${i}` } };
    }),
};

async function run(way, count) {
  await engine.flushCache();
  const before = engine.stats();
  const cpuBefore = process.cpuUsage();
  const start = performance.now();
  const samples = [];
  const sampling = { temperature: 1, maxTokens: tokens, ignoreEos: true };
  for await (const sample of engine.rollouts(ways[way](count), { sampling })) {
    if (sample.error) throw new Error(sample.error.message);
    samples.push(sample);
  }
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const { computedTokens, cachedTokens, preemptions } = engine.stats();
  const useful = samples.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  return {
    sha256: digest(samples),
    figures: {
      seconds,
      cpuSeconds: (user + system) / 1e6,
      rolloutsPerSecond: samples.length / seconds,
      usefulTokensPerSecond: useful / seconds,
      computedTokens: computedTokens - before.computedTokens,
      cachedTokens: cachedTokens - before.cachedTokens,
      preemptions: preemptions - before.preemptions,
    },
  };
}

/** Of all tokens and logprobs, in the order of seed and sampleIndex. */
function digest(samples) {
  const ordered = samples.sort((a, b) => a.seed - b.seed || a.sampleIndex - b.sampleIndex);
  const results = ordered.map(({ tokens, logprobs }) => [tokens, logprobs]);
  return createHash("sha256").update(JSON.stringify(results)).digest("hex");
}

function spread(list) {
  const sorted = list.toSorted((a, b) => a - b);
  const median = (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  const [shown, min, max] = [median, sorted[0], sorted.at(-1)].map((value) => Number(value.toPrecision(5)));
  return { median: shown, min, max };
}

const runs = { shared: [], separate: [] };
const ratios = { seconds: [], cpuSeconds: [] };
const hashes = new Set();
await run("shared", 1); // warms up
for (let round = 0; round < rounds; ++round) {
  const order = round % 2 ? ["separate", "shared"] : ["shared", "separate"];
  for (const way of order) {
    const { sha256, figures } = await run(way, groups);
    hashes.add(sha256);
    runs[way].push(figures);
  }
  for (const [key, list] of Object.entries(ratios))
    list.push(runs.separate.at(-1)[key] / runs.shared.at(-1)[key]);
  const [time, cpuTime] = Object.values(ratios).map((list) => list.at(-1).toFixed(2));
  console.error(`round ${round}, ${order[0]} first: ${time} times as fast, ${cpuTime} by CPU time`);
}
if (hashes.size > 1) throw new Error("The runs drew different tokens or logprobs");

const spreads = (list) =>
  Object.fromEntries(Object.keys(list[0]).map((key) => [key, spread(list.map((figures) => figures[key]))]));
const { cpu, platform, physicalCores, node, cuda } = doctor();
const [device] = engine.devices;
const gpu = device === "cpu" ? undefined : cuda.devices[Number(device.slice(5))].name;
const { version } = JSON.parse(readFileSync(fromRoot("package.json"), "utf8"));
console.log(
  JSON.stringify({
    work: "rollouts, shared and separate prompts",
    date: new Date().toISOString(),
    ...(values.note && { note: values.note }),
    machine: { cpu, platform, physicalCores, gpu },
    commit,
    versions: { lockstep: version, node },
    model: model.split("/").at(-1),
    devices: engine.devices,
    computePath: engine.computePath,
    settings,
    shared: spreads(runs.shared),
    separate: spreads(runs.separate),
    ratio: spread(ratios.seconds),
    cpuRatio: spread(ratios.cpuSeconds),
    sha256: [...hashes][0],
  }),
);
await engine.close();
