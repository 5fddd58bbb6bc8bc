/**
 * Two engines in one process: each has its own weights, cache and threads. Here one writes and the other judges; they
 * could be two checkpoints, before and after training.
 *
 *   node examples/two-engines.mjs [writer's directory] [judge's directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");

const { 2: writerModel = pathOf("demo/model"), 3: judgeModel = writerModel } = process.argv;
const options = { threads: 1, kvCacheTokens: 8192 }; // they share the machine: give each its part
const [writer, judge] = await Promise.all([
  Engine.load(writerModel, options),
  Engine.load(judgeModel, options),
]);
try {
  const system = { role: "system", content: textOf("demo/system.txt") };
  const tools = JSON.parse(textOf("demo/tools.json"));
  const requests = ["Please switch off the bedroom light.", "Is the back door locked?"];

  const reports = await Promise.all(
    requests.map(async (content) => {
      const messages = [system, { role: "user", content }];
      const sampling = { temperature: 0, maxTokens: 64, logprobs: true };
      const { text, tokens, logprobs } = await writer.generate({ messages, tools }, sampling);

      const prompt = judge.tokenizer.encode(
        judge.tokenizer.applyChatTemplate(messages, { tools, addGenerationPrompt: true }),
      );
      const score = await judge.score({ tokens: [...prompt, ...tokens] }, { from: prompt.length });

      // The same checkpoint gives the same bits, whoever computes them and whatever else runs beside it.
      const equal = tokens.every((_, i) => Object.is(score.logprobs[i], logprobs[i]));
      const total = score.logprobs.reduce((sum, logprob) => sum + logprob, 0);
      return [
        `${content} → ${JSON.stringify(text)}`,
        `  the judge's logprob: ${total.toFixed(3)}; the writer's own bits: ${equal ? "yes" : "no"}`,
      ];
    }),
  );
  for (const line of reports.flat()) console.log(line);
} finally {
  await Promise.all([writer.close(), judge.close()]);
}
