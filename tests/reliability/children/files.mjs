/**
 * An engine whose mapped checkpoint, a copy in a directory of its own, is changed under it in the way that the third
 * argument names. Prints what came of a request that met the change, and of one after it, as JSON.
 */
import { copyFileSync, renameSync, truncateSync, unlinkSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Engine } from "lockstep";

const [, , model, when, what, weights] = process.argv;
const tokens = [695, 82, 88, 274, 68, 76, 198];
const path = join(model, "model.safetensors");

const changes = {
  "cut short": () => truncateSync(path, 100_000),
  emptied: () => truncateSync(path, 0),
  touched: () => utimesSync(path, new Date(), new Date(Date.now() + 5_000)),
  replaced: () => {
    copyFileSync(path, `${path}.new`);
    renameSync(`${path}.new`, path);
  },
  removed: () => unlinkSync(path),
};

const outcome = (generation) =>
  generation.then(
    ({ tokens: output }) => `${output.length} tokens`,
    ({ name, code, message }) => ({ name, code, message }),
  );

const engine = await Engine.load(model, { threads: 2, tensorParallel: 2, weights });
await engine.generate({ tokens }, { temperature: 0, maxTokens: 4 });
const sampling = { temperature: 0, ignoreEos: true, maxTokens: 2_000 };
let under;
if (when === "at work") {
  const before = engine.stats().generatedTokens;
  under = outcome(engine.generate({ tokens }, sampling));
  while (engine.stats().generatedTokens < before + 10) await sleep(1);
  changes[what]();
} else {
  changes[what]();
  under = outcome(engine.generate({ tokens }, { ...sampling, maxTokens: 20 }));
}
const first = await under;
const second = await outcome(engine.generate({ tokens }, { ...sampling, maxTokens: 20 }));
await engine.close();
console.log(JSON.stringify({ first, second }));
