/**
 * What sharing a prompt saves: groups of n samples of one prompt, against as many samples of prompts of their own.
 * `node bench/rollouts.mjs [MODEL] [--prompt 512] [--tokens 64] [--groups 8] [--n 8] [--rounds 5]`
 *
 * Both ways draw the same number of tokens after prompts of the same length, in turns, on one engine; each round has
 * prompts of its own, so that no round finds another's in the prefix cache. Prints a line per round and the medians as JSON.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Engine } from "lockstep";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: Object.fromEntries(
    Object.entries({ prompt: "512", tokens: "64", groups: "8", n: "8", rounds: "5" }).map(
      ([name, standard]) => [name, { type: "string", default: standard }],
    ),
  ),
});
const [prompt, tokens, groups, n, rounds] = ["prompt", "tokens", "groups", "n", "rounds"].map((name) =>
  Number(values[name]),
);
const model = positionals[0] ?? fileURLToPath(new URL("../examples/demo/model", import.meta.url));

const engine = await Engine.load(model, { maxContext: prompt + tokens });
let drawn = 0;
const requests = (count, samples) =>
  Array.from({ length: count }, () => {
    // A first id or two that no other prompt has, then the same for all: ids of any vocabulary of a few hundred.
    const mark = ++drawn;
    return {
      prompt: {
        tokens: Array.from({ length: prompt }, (_, i) => (i < 2 ? (mark >> (8 * i)) & 255 : i % 256)),
      },
      n: samples,
    };
  });

async function run(count, samples) {
  const before = engine.stats();
  const start = performance.now();
  let rollouts = 0;
  let useful = 0;
  for await (const sample of engine.rollouts(requests(count, samples), {
    seed: drawn,
    sampling: { temperature: 1, maxTokens: tokens, ignoreEos: true },
  })) {
    if (sample.error) throw new Error(sample.error.message);
    ++rollouts;
    useful += sample.usage.completionTokens;
  }
  const seconds = (performance.now() - start) / 1000;
  const { computedTokens, cachedTokens } = engine.stats();
  return {
    rolloutsPerSecond: rollouts / seconds,
    usefulTokensPerSecond: useful / seconds,
    computedTokens: computedTokens - before.computedTokens,
    cachedTokens: cachedTokens - before.cachedTokens,
  };
}

const shared = [];
const separate = [];
await run(1, n); // warms up
for (let round = 0; round < rounds; ++round) {
  shared.push(await run(groups, n));
  separate.push(await run(groups * n, 1));
  const [a, b] = [shared.at(-1), separate.at(-1)];
  console.error(`round ${round}: ${(a.rolloutsPerSecond / b.rolloutsPerSecond).toFixed(2)} times as fast`);
}

const median = (list, key) => list.map((figures) => figures[key]).sort((a, b) => a - b)[list.length >> 1];
const medians = (list) => Object.fromEntries(Object.keys(list[0]).map((key) => [key, median(list, key)]));
const figures = { shared: medians(shared), separate: medians(separate) };
console.log(
  JSON.stringify({
    model,
    computePath: engine.computePath,
    prompt,
    tokens,
    groups,
    n,
    ...figures,
    ratio: figures.shared.rolloutsPerSecond / figures.separate.rolloutsPerSecond,
  }),
);
await engine.close();
