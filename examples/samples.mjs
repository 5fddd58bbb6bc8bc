/**
 * Several samples of one prompt, with the three kinds of log probabilities.
 *
 *   node examples/samples.mjs [model directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");

const engine = await Engine.load(process.argv[2] ?? pathOf("demo/model"));
try {
  const prompt = {
    messages: [
      { role: "system", content: textOf("demo/system.txt") },
      { role: "user", content: "Please switch off the bedroom light." },
    ],
    tools: JSON.parse(textOf("demo/tools.json")),
  };
  const sampling = { temperature: 1.2, topP: 0.95, maxTokens: 48, seed: 7, logprobs: true };

  // n samples share one prompt, which is computed once. They differ in sampleIndex only.
  const samples = await engine.generate(prompt, { ...sampling, n: 4 });

  const sum = (logprobs) => logprobs.reduce((total, logprob) => total + logprob, 0).toFixed(3);
  for (const sample of samples) {
    console.log(`sample ${sample.sampleIndex}: ${JSON.stringify(sample.text)}`);
    // Each list has a number per output token; summed, it is the log probability of the whole output under …
    // … the model: log-softmax of its raw logits. What a score() of the same tokens gives.
    console.log(`  logprobs             ${sum(sample.logprobs)}`);
    // … the model at this temperature, before top-p cuts anything. What an RL trainer divides by.
    console.log(`  temperatureLogprobs  ${sum(sample.temperatureLogprobs)}`);
    // … the distribution that was drawn from, temperature and top-p included. What importance weights need.
    console.log(`  samplingLogprobs     ${sum(sample.samplingLogprobs)}`);
  }

  // A sample can be made again on its own: same seed, same sampleIndex, same tokens, same logprobs, bit for bit.
  const again = await engine.generate(prompt, { ...sampling, sampleIndex: 2 });
  const same = JSON.stringify(again.logprobs) === JSON.stringify(samples[2].logprobs);
  console.log(`sample 2 alone: ${same ? "the same bits" : "DIFFERENT"}`);
  process.exitCode = same ? 0 : 1;
} finally {
  await engine.close();
}
