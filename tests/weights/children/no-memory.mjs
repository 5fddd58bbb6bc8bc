/**
 * An update and a wake() for which there is no memory: the limit on this process's address space is set just above what it
 * has. Prints, as JSON, what each was answered, and whether the engine said the same before, in between and after.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { Engine } from "lockstep";

const [, , model, other] = process.argv;
const limit = (bytes) => execFileSync("prlimit", ["--pid", String(process.pid), `--as=${bytes}:unlimited`]);
const spareBytes = 36 * 2 ** 20; // enough to map 26 MB, not to copy them, too
const withoutMemory = async (body) => {
  const [pages] = readFileSync("/proc/self/statm", "utf8").split(" ");
  limit(Number(pages) * 4096 + spareBytes);
  const answer = await body().then(
    () => "done",
    ({ code, message }) => `${code}: ${message}`,
  );
  limit("unlimited");
  return answer;
};

const engine = await Engine.load(model, { device: "cpu", threads: 1, kvCacheTokens: 1024, weights: "copy" });
const voice = async () => JSON.stringify(await engine.score({ tokens: [1, 2, 3, 4] }, { topLogprobs: 4 }));
const before = await voice();
const update = await withoutMemory(() => engine.updateWeights(other));
const between = await voice();
const { weightVersion } = engine.stats();
await engine.sleep();
const wake = await withoutMemory(() => engine.wake());
const { asleep } = engine.stats();
await engine.wake();
const after = await voice();
await engine.close();
console.log(
  JSON.stringify({ update, wake, weightVersion, asleep, same: before === between && before === after }),
);
