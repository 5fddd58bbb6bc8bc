/**
 * Generate in a script: one prompt in, one Generation out.
 *
 *   node examples/generate.mjs [model directory]
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine } from "lockstep";

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));
const textOf = (name) => readFileSync(pathOf(name), "utf8");

// In TypeScript, or in a newer Node, `await using engine = …` closes it without the `finally`.
const engine = await Engine.load(process.argv[2] ?? pathOf("demo/model"));
try {
  // A conversation goes through the checkpoint's chat template. A plain string would be continued as it stands.
  const prompt = {
    messages: [
      { role: "system", content: textOf("demo/system.txt") },
      { role: "user", content: "Please switch off the bedroom light." },
    ],
    tools: JSON.parse(textOf("demo/tools.json")),
  };
  const { text, toolCalls, finishReason, usage } = await engine.generate(prompt, {
    temperature: 0, // greedy: the same answer every time
    maxTokens: 96,
  });

  console.log(text);
  console.log("tool calls:", JSON.stringify(toolCalls ?? []));
  console.log(`${usage.promptTokens} tokens in, ${usage.completionTokens} out, ended by ${finishReason}`);
} finally {
  await engine.close();
}
