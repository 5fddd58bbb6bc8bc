/**
 * Generates on the devices that the second argument names (JSON for Engine.load) and prints, as JSON, what came: of each
 * request its outcome, then the counts, what a later load says, and where device "auto" ends. Where the engine has failed,
 * also what a request says after that, and where a process that this one starts gets to.
 */
import { spawnSync } from "node:child_process";
import { doctor, Engine } from "lockstep";

const [, , model, options] = process.argv;
const small = { maxBatchTokens: 24, maxSequences: 4, kvCacheTokens: 512 };
const outcome = ({ code, message }) => ({ code, message });

const engine = await Engine.load(model, { ...small, ...JSON.parse(options) });
const prompts = [[1, 2, 3], Array.from({ length: 40 }, (_, i) => (7 * i) % 64), [5], [9, 9]];
const sampling = { maxTokens: 12, ignoreEos: true, seed: 3, topK: 20, logprobs: true, topLogprobs: 2 };
const results = await Promise.allSettled(prompts.map((tokens) => engine.generate({ tokens }, sampling)));
const score = await engine.score({ tokens: prompts[1] }, { topLogprobs: 2 }).catch(outcome);
const embed = await engine
  .embed(
    prompts.map((tokens) => ({ tokens })),
    { pooling: "mean" },
  )
  .catch(outcome);
const { failure } = engine.stats();
const again = failure && (await engine.generate({ tokens: [1] }, sampling).then(() => "answered", outcome));
await engine.close();
const env = { ...process.env, LOCKSTEP_CUDA_ON_CPU: "" };
const fresh =
  failure && spawnSync(process.execPath, process.argv.slice(1), { env, encoding: "utf8", timeout: 30_000 });
const later = await Engine.load(model, { ...small, device: "cuda" }).then((next) => next.close(), outcome);
const auto = await Engine.load(model, small);
console.log(
  JSON.stringify({
    computePath: engine.computePath,
    results: results.map(({ value, reason }) => (value ? { ...value, usage: undefined } : outcome(reason))),
    score,
    embed,
    failure,
    again,
    fresh: fresh && JSON.parse(fresh.stdout).computePath,
    blocks: engine.stats().blocks,
    stepsAhead: engine.stats().stepsAhead,
    cuda: doctor().cuda,
    later,
    auto: auto.computePath,
  }),
);
await auto.close();
