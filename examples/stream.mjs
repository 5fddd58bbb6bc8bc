/**
 * Stream to the terminal: the text as it is made, and Ctrl-C to end it early.
 *
 *   node examples/stream.mjs [model directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");

const interruption = new AbortController();
process.once("SIGINT", () => interruption.abort());

const engine = await Engine.load(process.argv[2] ?? pathOf("demo/model"));
try {
  const prompt = {
    messages: [
      { role: "system", content: textOf("demo/system.txt") },
      { role: "user", content: "Lock the front door and turn on the kitchen light." },
    ],
    tools: JSON.parse(textOf("demo/tools.json")),
  };
  const sampling = { temperature: 0, maxTokens: 96, signal: interruption.signal };

  let chunks = 0;
  // Each chunk has the new text and tokens; the last one has the whole Generation, too. An aborted stream ends as a
  // finished one does, with finishReason "abort".
  for await (const { text, generation } of engine.stream(prompt, sampling)) {
    process.stdout.write(text);
    chunks += 1;
    if (generation)
      console.log(`\n${generation.tokens.length} tokens in ${chunks} chunks (${generation.finishReason})`);
  }
} finally {
  await engine.close();
}
