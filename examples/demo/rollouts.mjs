/**
 * Rejection sampling, then best of n, on the `home` domain: what a training loop does around the engine, with a real
 * reward (is the home in the right state?). `node examples/demo/rollouts.mjs [FILE]` prints one `name value` per line.
 *
 * 1. Rejection sampling: 8 samples of each training task at temperature 1; a group stops once two of them have succeeded.
 *    What succeeded is the data to train on, written to FILE as JSON lines that slime reads.
 * 2. Best of n: 8 samples of each test task. pass@k is the share of tasks that a choice of k samples solves if it contains
 *    a success (Chen et al. 2021, unbiased); best_of_8 is what one gets by choosing the likeliest sample.
 * 3. Self-check: scoring all samples gives, bit for bit, the log probabilities reported while they were sampled.
 *
 * TASKS=n plays n tasks of each split only. Exits with 1 where the self-check finds a difference.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine, toSlimeSample } from "lockstep";
import { homeDomain, isOutcome } from "lockstep/eval";

const SAMPLES = 8;
const ENOUGH = 2; // successes that a training task needs
const SEED = 1;

const domain = homeDomain();
const { maxSteps, sampling } = domain.defaults;
const limit = Number(process.env.TASKS ?? Number.POSITIVE_INFINITY);

const engine = await Engine.load(fileURLToPath(new URL("model", import.meta.url)));
try {
  const training = await play("train", {
    cancelGroup: (_, { group }) => group.filter(({ reward }) => reward === 1).length >= ENOUGH && "group",
  });
  const kept = training.samples.filter(({ reward }) => reward === 1);
  report("rejection", training, { kept: kept.length, tasks_with_data: requestGroups(kept).length });
  const [, , file] = process.argv;
  if (file) writeFileSync(file, kept.map((sample) => `${JSON.stringify(toSlimeSample(sample))}\n`).join(""));

  const test = await play("test");
  const groups = requestGroups(test.samples);
  report("test", test, { ...passCurve(groups), [`best_of_${SAMPLES}`]: share(groups.map(likeliest)) });

  await selfCheck([...training.samples, ...test.samples]);
} finally {
  await engine.close();
}

/** All samples of a split's tasks, with the seconds they took. */
async function play(split, options = {}) {
  const requests = domain
    .tasks(split)
    .slice(0, limit)
    .map((task) => {
      const { conversation: messages, tools } = domain.start(task).first;
      return { prompt: { messages, tools }, metadata: task };
    });
  const start = performance.now();
  const samples = [];
  const rollouts = engine.rollouts(requests, {
    n: SAMPLES,
    seed: SEED,
    sampling: { ...sampling, temperature: 1 },
    turn({ turns, metadata }, answer) {
      const { state } = answer;
      state.episode ??= domain.start(metadata);
      const next = state.episode.step(answer.text, answer);
      if (isOutcome(next)) state.success = next.success;
      else if (turns < maxSteps) return { messages: next.observation };
    },
    reward: ({ finishReason }, { state }) => Number(finishReason === "stop" && state.success === true),
    ...options,
  });
  for await (const sample of rollouts) {
    if (sample.error) throw new Error(`${sample.metadata.id}: ${sample.error.message}`);
    samples.push(sample);
  }
  return { samples, seconds: (performance.now() - start) / 1000 };
}

/** The samples of each request that has any. */
function requestGroups(samples) {
  const groups = new Map();
  for (const sample of samples) {
    if (!groups.has(sample.groupIndex)) groups.set(sample.groupIndex, []);
    groups.get(sample.groupIndex).push(sample);
  }
  return [...groups.values()];
}

/** pass@k for k = 1, 2, 4, 8: the mean over tasks of 1 - C(n - c, k) / C(n, k), with c of n samples successful. */
function passCurve(groups) {
  const chances = (k) =>
    groups.map((samples) => {
      const failures = samples.filter(({ reward }) => reward !== 1).length;
      let allFail = 1;
      for (let i = 0; i < k; ++i) allFail *= Math.max(0, failures - i) / (samples.length - i);
      return 1 - allFail;
    });
  return Object.fromEntries([1, 2, 4, 8].map((k) => [`pass@${k}`, mean(chances(k))]));
}

/** The sample whose tokens the model found likeliest on average: a choice that needs no reward. */
function likeliest(samples) {
  const score = ({ logprobs, usage }) =>
    logprobs.reduce((sum, logprob) => sum + logprob, 0) / usage.completionTokens;
  return samples.reduce((best, sample) => (score(sample) > score(best) ? sample : best));
}

/** Scorer = sampler, on every token that was sampled. */
async function selfCheck(samples) {
  let tokens = 0;
  let differences = 0;
  await Promise.all(
    samples.map(async (sample) => {
      const from = sample.tokens.length - sample.responseLength;
      const { logprobs } = await engine.score({ tokens: sample.tokens }, { from });
      sample.lossMask.forEach((mask, i) => {
        tokens += mask;
        differences += mask === 1 && logprobs[i] !== sample.logprobs[i] ? 1 : 0;
      });
    }),
  );
  console.log(`scored_samples ${samples.length}`);
  console.log(`scored_tokens ${tokens}`);
  console.log(`scored_differently ${differences}`);
  if (differences > 0) process.exitCode = 1;
}

function report(name, { samples, seconds }, figures) {
  const completed = samples.filter(({ finishReason }) => finishReason !== "abort");
  const tokens = completed.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  const rows = {
    samples: samples.length,
    aborted: samples.length - completed.length,
    rollouts_per_second: completed.length / seconds,
    useful_tokens_per_second: tokens / seconds,
    mean_reward: mean(completed.map(({ reward }) => reward)),
    ...figures,
  };
  for (const [key, value] of Object.entries(rows)) console.log(`${name}_${key} ${Number(value.toFixed(4))}`);
}

function share(samples) {
  return mean(samples.map(({ reward }) => reward));
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
