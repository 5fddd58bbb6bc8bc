/**
 * What tau2-bench's environments cost beside the model: recorded episodes are played again without one, and timed.
 *
 *   node bench/tau2-steps.mjs DIR RECORDINGS.jsonl...      # DIR: a tau2-bench checkout, or a folder with its data
 *
 * An agent's step is one action: parsing, the call or the user's replies with theirs, synchronisation, the observation and
 * the messages that follow; the last one of an episode also grades it. Prints a JSON line: median over the rounds.
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { recordedUser, Tau2Data, tau2Domain } from "lockstep/eval";

const kRounds = 5;
const [directory, ...recordings] = process.argv.slice(2);
if (recordings.length === 0) {
  console.error("usage: node bench/tau2-steps.mjs DIR RECORDINGS.jsonl...");
  process.exit(2);
}
const data = new Tau2Data(directory);
const user = recordedUser(recordings);
const setting = {
  schemas: { agent: [], user: [] },
  prompt: { system: "", repair: "", hashes: { system: "", repair: "" }, original: false },
};
const episodes = recordings.flatMap((file) =>
  readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line)),
);
const domains = new Map(
  ["airline", "retail", "telecom"].map((domain) => [
    domain,
    tau2Domain({ directory, data, domain, user, setting }),
  ]),
);

const rounds = [];
for (let round = 0; round < kRounds; ++round) rounds.push(await play());
const median = (name) => rounds.map((one) => one[name]).sort((a, b) => a - b)[kRounds >> 1];
const [{ steps }] = rounds;
console.log(
  JSON.stringify({
    cpu: cpus()[0].model.trim(),
    node: process.version,
    episodes: episodes.length,
    steps,
    ms_a_step: Number(median("stepMs").toFixed(4)),
    ms_to_begin: Number(median("beginMs").toFixed(3)),
    ms_to_grade: Number(median("gradeMs").toFixed(3)),
  }),
);

async function play() {
  let [steps, beginning, stepping, grading] = [0, 0, 0, 0];
  for (const { domain, task_id: id, steps: recorded } of episodes) {
    let at = performance.now();
    const context = { sample: 0, seed: 0, maxSteps: 100, signal: new AbortController().signal };
    const episode = await domains.get(domain).start({ id }, context);
    beginning += performance.now() - at;
    for (const [i, { assistant_text }] of recorded.entries()) {
      at = performance.now();
      await episode.step(assistant_text);
      const taken = performance.now() - at;
      if (i === recorded.length - 1) grading += taken;
      else {
        stepping += taken;
        steps++;
      }
    }
  }
  return {
    steps,
    beginMs: beginning / episodes.length,
    stepMs: stepping / steps,
    gradeMs: grading / episodes.length,
  };
}
