/** One way of ending a process, named by the second argument. Prints "go" when the moment has come. */
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

const [, , model, way] = process.argv;
const tokens = [695, 82, 88, 274, 68, 76, 198];
const endless = { temperature: 0, ignoreEos: true };

const engine = await Engine.load(model, { threads: 2 });

/** Starts eight generations of 2,000 tokens and returns when they run. */
async function startGenerating() {
  const generations = Array.from({ length: 8 }, () => engine.generate({ tokens }, endless));
  for (const generation of generations) generation.catch(() => {});
  while (engine.stats().generatedTokens < 8) await sleep(1);
  console.log("go");
  return generations;
}

const ways = {
  // Nothing is open: the process ends by itself, with and without close().
  idle: async () => console.log("go"),
  "idle after work": async () => {
    const { tokens: output } = await engine.generate({ tokens }, { ...endless, maxTokens: 5 });
    console.log(`${output.length} tokens\ngo`);
  },
  "idle after a long text": async () => {
    // Long enough for the tokenizer's worker thread.
    const { usage } = await engine.generate("turn on the kitchen light ".repeat(300), { maxTokens: 1 });
    console.log(`${usage.promptTokens} prompt tokens\ngo`);
  },
  closed: async () => {
    await engine.close();
    console.log("go");
  },
  "closed while generating": async () => {
    const generations = await startGenerating();
    await engine.close();
    const settled = await Promise.allSettled(generations);
    console.log(settled.map(({ reason }) => reason?.code).join(" "));
  },
  // Something is open: the process waits for it.
  "waits for the last token": async () => {
    engine
      .generate({ tokens }, { ...endless, maxTokens: 300 })
      .then((one) => console.log(`${one.tokens.length} tokens`));
    console.log("go");
  },
  exit: async () => {
    await startGenerating();
    process.exit(7);
  },
  "exit in a callback": async () => {
    for await (const _ of engine.stream({ tokens }, endless)) {
      console.log("go");
      process.exit(7);
    }
  },
  "uncaught exception": async () => {
    await startGenerating();
    setTimeout(() => {
      throw new Error("a bug in somebody's program");
    });
  },
  "unhandled rejection": async () => {
    await startGenerating();
    Promise.reject(new Error("a bug in somebody's program"));
  },
  "exit while loading": async () => {
    Engine.load(model);
    console.log("go");
    process.exit(7);
  },
  "exit while closing": async () => {
    await startGenerating();
    engine.close();
    process.exit(7);
  },
};
await ways[way]();
