/**
 * Perplexity of a text longer than one would score at once, and a question of multiple choice, by log probabilities alone.
 *
 *   node examples/perplexity.mjs [model directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");
const sumOf = (logprobs) => logprobs.reduce((sum, logprob) => sum + logprob, 0);

/**
 * exp(−mean logprob) over all tokens but the first. Windows of `size` tokens overlap by `overlap`: `from` scores in each
 * only what the one before has not, so every token is counted once, with at least `overlap` tokens before it.
 */
async function perplexity(engine, tokens, { size, overlap }) {
  const starts = [];
  for (let at = size - overlap; at + overlap < tokens.length; at += size - overlap) starts.push(at);
  const first = await engine.score({ tokens: tokens.slice(0, size) });
  const windows = starts.map((at) => ({ tokens: tokens.slice(at, at + size) }));
  const others = await engine.score(windows, { from: overlap });
  for (const { error } of others) if (error) throw error; // in an array, each has its own
  const logprobs = [first, ...others].flatMap((score) => score.logprobs).slice(1); // nothing stands before the first
  return Math.exp(-sumOf(logprobs) / logprobs.length);
}

/** The log probability of each choice behind the prompt; all are scored at once, and share the prompt's K and V. */
async function scoresOfChoices(engine, prompt, choices) {
  const inputs = choices.map((choice) => ({ tokens: [...prompt, ...engine.tokenizer.encode(choice)] }));
  const scores = await engine.score(inputs, { from: prompt.length });
  for (const { error } of scores) if (error) throw error;
  return scores.map(({ logprobs }, i) => ({
    choice: choices[i],
    total: sumOf(logprobs),
    perToken: sumOf(logprobs) / logprobs.length, // so that a longer choice is not the less likely one for it
  }));
}

const engine = await Engine.load(process.argv[2] ?? pathOf("demo/model"));
try {
  const { tokenizer } = engine;

  const question = [
    { role: "system", content: textOf("demo/system.txt") },
    { role: "user", content: "Please switch off the bedroom light." },
  ];
  const tools = JSON.parse(textOf("demo/tools.json"));
  const prompt = tokenizer.encode(
    tokenizer.applyChatTemplate(question, { tools, addGenerationPrompt: true }),
  );
  for (const size of [64, 256, 2048]) {
    const result = await perplexity(engine, prompt, { size, overlap: size / 4 });
    console.log(`${prompt.length} tokens in windows of ${size}: perplexity ${result.toFixed(3)}`);
  }

  const call = (room, state) =>
    `<tool_call>\n{"name": "set_light", "arguments": {"room": "${room}", "state": "${state}"}}\n</tool_call>`;
  const choices = [
    call("bedroom", "on"),
    call("bedroom", "off"),
    call("living room", "off"),
    "The bedroom light is off.",
  ];

  const ranked = (await scoresOfChoices(engine, prompt, choices)).sort((a, b) => b.perToken - a.perToken);
  for (const { choice, total, perToken } of ranked)
    console.log(`${total.toFixed(3)} in all, ${perToken.toFixed(3)} a token: ${JSON.stringify(choice)}`);
} finally {
  await engine.close();
}
