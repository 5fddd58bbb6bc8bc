/** Engines that are dropped without close(): garbage collection ends their threads. Needs --expose-gc; Linux. */
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

const [, , model] = process.argv;
const threads = () => readdirSync("/proc/self/task").length;

async function use() {
  const engine = await Engine.load(model, { threads: 2 });
  await engine.generate({ tokens: [1, 2, 3] }, { temperature: 0, maxTokens: 4, ignoreEos: true });
}

const before = threads();
for (let i = 0; i < 5; ++i) await use();
const most = threads();
for (let i = 0; i < 200 && threads() > before; ++i) {
  globalThis.gc();
  await sleep(10);
}
console.log(JSON.stringify({ before, most, after: threads() }));
