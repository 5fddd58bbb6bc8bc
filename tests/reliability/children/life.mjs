/** One way of living and dying, named by the second argument; with two ranks. Prints "go" when the moment has come. */
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

const [, , model, way] = process.argv;
const tokens = [695, 82, 88, 274, 68, 76, 198];
const endless = { temperature: 0, ignoreEos: true };

const engine = await Engine.load(model, { threads: 2, tensorParallel: 2 });

async function startGenerating() {
  const generations = Array.from({ length: 8 }, () => engine.generate({ tokens }, endless));
  for (const generation of generations) generation.catch(() => {});
  while (engine.stats().generatedTokens < 8) await sleep(1);
  return generations;
}

const ways = {
  idle: () => console.log("go"),
  "idle after work": async () => {
    await engine.generate({ tokens }, { ...endless, maxTokens: 20 });
    console.log("go");
  },
  exit: async () => {
    await startGenerating();
    console.log("go");
    process.exit(7);
  },
  "exit with a prompt under way": async () => {
    engine.generate({ tokens: Array(2000).fill(5) }, endless);
    while (engine.stats().running === 0) await sleep(0);
    console.log("go");
    process.exit(7);
  },
  "uncaught exception": async () => {
    await startGenerating();
    console.log("go");
    setTimeout(() => {
      throw new Error("a bug in somebody's program");
    });
  },
  "wait for a signal": async () => {
    await startGenerating();
    console.log("go");
    setInterval(() => {}, 1000);
  },
  "wait for a signal, then close": async () => {
    const generations = await startGenerating();
    const stop = async () => {
      await engine.close();
      const settled = await Promise.allSettled(generations);
      console.log(settled.map(({ reason }) => reason?.code).join(" "));
    };
    process.once("SIGTERM", stop).once("SIGINT", stop);
    console.log("go");
  },
  "close and exit at once": async () => {
    await startGenerating();
    engine.close();
    console.log("go");
    process.exit(7);
  },
};
await ways[way]();
