/**
 * Score a text: how likely was each token, given those before it? The same forward pass that generates.
 *
 *   node examples/score.mjs [model directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");

const engine = await Engine.load(process.argv[2] ?? pathOf("demo/model"));
try {
  const { tokenizer } = engine;
  const question = [
    { role: "system", content: textOf("demo/system.txt") },
    { role: "user", content: "Please switch off the bedroom light." },
  ];
  const options = { tools: JSON.parse(textOf("demo/tools.json")), addGenerationPrompt: true };
  const prompt = tokenizer.encode(tokenizer.applyChatTemplate(question, options));

  // Which of two answers does the model prefer? `from` leaves the prompt out: only the answer's tokens are scored.
  const call = (state) =>
    `<tool_call>\n{"name": "set_light", "arguments": {"room": "bedroom", "state": "${state}"}}\n</tool_call>`;
  for (const state of ["off", "on"]) {
    const answer = tokenizer.encode(call(state));
    const score = await engine.score(
      { tokens: [...prompt, ...answer] },
      { from: prompt.length, topLogprobs: 1 },
    );
    const total = score.logprobs.reduce((sum, logprob) => sum + logprob, 0);
    const perplexity = Math.exp(-total / answer.length);
    console.log(`"${state}": logprob ${total.toFixed(3)}, perplexity ${perplexity.toFixed(3)}`);

    // The token that surprised it most, and what it had expected there.
    const worst = score.logprobs.indexOf(Math.min(...score.logprobs));
    const shown = (token) => JSON.stringify(tokenizer.decode([token]));
    const [expected] = score.topLogprobs[worst];
    console.log(`  least likely: ${shown(answer[worst])}, most likely there: ${shown(expected.token)}`);
  }
} finally {
  await engine.close();
}
