/** The numbers on the page "Logprobs, exactly" (docs/logprobs.md), by the code that stands there. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine, samplingDistribution } from "lockstep";
import { expect, it } from "vitest";
import { kDemoModel, kTokens } from "./support.js";

const page = readFileSync(fileURLToPath(new URL("../../docs/logprobs.md", import.meta.url)), "utf8");

/** What `code` returns, with samplingDistribution in scope. */
const run = (code: string): unknown => new Function("samplingDistribution", code)(samplingDistribution);

it("shows the logprobs that samplingDistribution gives", () => {
  const [setup, calls] = [...page.matchAll(/```js\n(.*?)```/gs)].map((block) => block[1]!);
  const distributions = run(`${setup} return [${calls!.replaceAll(";", ",")}]`) as Float32Array[];
  const rows = [...page.matchAll(/^\| \d \|.*\|$/gm)].map(([row]) => row.split("|").slice(-4, -1));
  expect(distributions).toHaveLength(3);
  expect(rows).toHaveLength(5);
  for (const [id, row] of rows.entries())
    expect(row.map((cell) => cell.trim())).toEqual(
      distributions.map((distribution) => Math.log(distribution[id]!).toFixed(4)),
    );
});

it("shows where ties go", () => {
  const examples = [...page.matchAll(/`(samplingDistribution\([^`]*\))` is (\[[^\]]*\])/g)];
  expect(examples).toHaveLength(2);
  for (const [, call, shown] of examples)
    expect(Array.from(run(`return ${call}`) as Float32Array)).toEqual(JSON.parse(shown!));
});

it("says of what they are equal bit for bit, and what forced tokens get", async () => {
  await using engine = await Engine.load(kDemoModel, { threads: 1 });
  const options = { topK: 0, topP: 1, minP: 0, maxTokens: 16, seed: 5, ignoreEos: true, logprobs: true };
  for (const temperature of [0, 1]) {
    const { logprobs, temperatureLogprobs } = await engine.generate(kTokens, { ...options, temperature });
    expect(temperatureLogprobs).toEqual(logprobs);
  }
  const warm = await engine.generate(kTokens, { ...options, temperature: 1.3 });
  expect(warm.samplingLogprobs).toEqual(warm.temperatureLogprobs);
  expect(warm.temperatureLogprobs).not.toEqual(warm.logprobs);

  const greedy = await engine.generate(kTokens, { ...options, temperature: 0, topLogprobs: 2 });
  const [first, second] = greedy.topLogprobs![0]!.map(({ token }) => token);
  for (const [forced, logprob] of [
    [first!, 0],
    [second!, -Infinity],
  ] as const) {
    const one = { ...options, temperature: 0, maxTokens: 1, forcedTokens: [forced] };
    const generation = await engine.generate(kTokens, one);
    expect(generation.samplingLogprobs).toEqual([logprob]);
  }
  const banned = { temperature: 1, forcedTokens: [7], logitBias: { 7: -Infinity }, maxTokens: 1 };
  expect(await engine.generate(kTokens, { ...options, ...banned })).toMatchObject({
    logprobs: [expect.any(Number)],
    temperatureLogprobs: [-Infinity],
    samplingLogprobs: [-Infinity],
  });
});
