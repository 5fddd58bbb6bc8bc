/** The caller's own abort listeners throw, before and after the engine's. Prints what came of it. */
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

let exceptions = 0;
process.on("uncaughtException", () => ++exceptions);
const listener = () => {
  throw new Error("the caller's");
};

const engine = await Engine.load(process.argv[2], { threads: 1 });
const controller = new AbortController();
controller.signal.addEventListener("abort", listener);
const generation = engine.generate(
  { tokens: [1, 2, 3] },
  { temperature: 0, maxTokens: 8_000, signal: controller.signal },
);
controller.signal.addEventListener("abort", () => listener());
controller.abort();
const { finishReason } = await generation;
await sleep(5);
const { tokens } = await engine.generate({ tokens: [1, 2, 3] }, { temperature: 0, maxTokens: 3 });
console.log(`${finishReason}, ${exceptions} exceptions, ${tokens.length} tokens`);
await engine.close();
