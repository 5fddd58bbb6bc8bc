/**
 * Worker threads that load the addon. "terminated": fifty, four at a time, each terminated while it generates.
 * "side by side": two engines in two workers, which give the same tokens as the main thread.
 */
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Engine } from "lockstep";

const tokens = [695, 82, 88, 274, 68, 76, 198];
const endless = { temperature: 0, ignoreEos: true };

async function terminated(model) {
  for (let round = 0; round < 50; round += 4) {
    const count = Math.min(4, 50 - round);
    const workers = Array.from({ length: count }, (_, i) => {
      const options = { threads: 1 + (i % 2), tensorParallel: 1 + (i % 2) };
      return new Worker(new URL(import.meta.url), { workerData: { model, way: "endless", options } });
    });
    await Promise.all(workers.map((worker) => once(worker, "message")));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

async function sideBySide(model) {
  const workers = [1, 2].map(
    (tensorParallel) =>
      new Worker(new URL(import.meta.url), {
        workerData: { model, way: "some", options: { tensorParallel } },
      }),
  );
  const exits = workers.map((worker) => once(worker, "exit"));
  const outputs = await Promise.all(workers.map((worker) => once(worker, "message")));
  await Promise.all(exits);
  return outputs.map(([output]) => String(output));
}

if (isMainThread) {
  const [, , model, way] = process.argv;
  const outputs = way === "terminated" ? await terminated(model) : await sideBySide(model);
  const engine = await Engine.load(model, { threads: 1 });
  const generation = await engine.generate({ tokens }, { ...endless, maxTokens: 60 });
  const same = outputs?.every((output) => output === String(generation.tokens)) ?? true;
  console.log(`${generation.tokens.length} tokens, ${same ? "the same" : "others"}`);
} else {
  const { model, way, options } = workerData;
  const engine = await Engine.load(model, options);
  if (way === "some") {
    const generation = await engine.generate({ tokens }, { ...endless, maxTokens: 60 });
    parentPort.postMessage(generation.tokens);
  } else {
    let steps = 0;
    for await (const _ of engine.stream({ tokens }, endless))
      if (++steps === 3) parentPort.postMessage("running");
  }
}
