/**
 * Engines made and given up, two hundred times, in the way named by the second argument. Prints what the process holds
 * after the warm-up and at the end. Needs --expose-gc; Linux.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

const [, , model, way] = process.argv;
const kCycles = 200;
const kWarmUp = 40;
const tokens = Array.from({ length: 100 }, (_, i) => i % 60);
const some = { temperature: 0, ignoreEos: true, maxTokens: 8 };

const threads = () => readdirSync("/proc/self/task").length;

/** At rest: nothing left that garbage collection could free. */
async function resources() {
  let last = threads();
  for (let quiet = 0, i = 0; quiet < 5 && i < 200; ++i) {
    globalThis.gc();
    await sleep(5);
    quiet = threads() === last ? quiet + 1 : 0;
    last = threads();
  }
  const rssPages = Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]);
  const { heapUsed, external } = process.memoryUsage();
  return {
    threads: last,
    fds: readdirSync("/proc/self/fd").length,
    rssMb: (rssPages * 4096) / 2 ** 20,
    jsMb: (heapUsed + external) / 2 ** 20,
  };
}

const ways = {
  async closed(engine) {
    await engine.generate({ tokens }, some);
    await engine.close();
  },
  async "closed while generating"(engine) {
    const generations = [1, 2, 3].map(() => engine.generate({ tokens }, { ...some, maxTokens: 400 }));
    const stream = engine.stream({ tokens }, some);
    const settled = Promise.allSettled([...generations, engine.score({ tokens }), stream.next()]);
    await new Promise(setImmediate);
    await Promise.all([engine.close(), engine.close()]);
    for (const { status, reason } of await settled)
      if (status === "rejected" && reason.code !== "ENGINE_CLOSED") throw reason;
    await engine.close();
    const refused = await engine.generate({ tokens }, some).catch((error) => error.code);
    if (refused !== "ENGINE_CLOSED" || engine.stats().running !== 0)
      throw new Error(`after close: ${refused}`);
  },
  async dropped(engine) {
    await engine.generate({ tokens }, some);
  },
};

async function cycle(i) {
  const ranks = 1 + (i % 2);
  const engine = await Engine.load(model, { threads: ranks, tensorParallel: ranks, kvCacheTokens: 4096 });
  await ways[way](engine);
}

let before;
for (let i = 0; i < kCycles; ++i) {
  if (i === kWarmUp) before = await resources();
  await cycle(i);
  if (i % 10 === 0) globalThis.gc();
}
console.log(JSON.stringify({ before, after: await resources() }));
