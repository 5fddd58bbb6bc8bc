/** node-llama-cpp, on the GGUF file of the same weights: node peer.mjs CHECKPOINT THREADS CONTEXT */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { serve, timed } from "../serve.mjs";

const [checkpoint, threads, context] = process.argv.slice(2);
const maker = fileURLToPath(new URL("../../make-gguf.mjs", import.meta.url));
const modelPath = execFileSync(process.execPath, [maker, checkpoint], { encoding: "utf8" }).trim();
const own = new URL("node_modules/node-llama-cpp/package.json", import.meta.url);
const { version } = JSON.parse(readFileSync(own, "utf8"));

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath });
await serve({ name: "node-llama-cpp", version }, async (question) => {
  const { prompts, tokens = 1 } = question;
  const longest = Math.max(...prompts.map(({ length }) => length)) + tokens + 1;
  const contextSize = Math.min(longest, Number(context));
  const shape = {
    contextSize,
    sequences: prompts.length,
    threads: Number(threads),
    batchSize: Math.min(2048, contextSize * prompts.length),
  };
  const run = await model.createContext(shape);
  const sequences = prompts.map(() => run.getSequence());
  const answer = await timed(question, (prompt) =>
    sequences[prompts.indexOf(prompt)].evaluate(prompt, { temperature: 0, yieldEogToken: true }),
  );
  await run.dispose();
  return answer;
});
await llama.dispose();
