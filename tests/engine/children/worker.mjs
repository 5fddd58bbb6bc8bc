/** Worker threads that load the addon and are terminated while they generate; then the main thread does some work. */
import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Engine } from "lockstep";

const tokens = [695, 82, 88, 274, 68, 76, 198];

if (isMainThread) {
  const model = process.argv[2];
  for (let round = 0; round < 4; ++round) {
    const workers = [0, 1].map(() => new Worker(new URL(import.meta.url), { workerData: model }));
    await Promise.all(workers.map((worker) => once(worker, "message")));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  // One that ends by itself, without close().
  const worker = new Worker(new URL(import.meta.url), { workerData: model, argv: ["end"] });
  const [[output], [code]] = await Promise.all([once(worker, "message"), once(worker, "exit")]);
  const engine = await Engine.load(model);
  const generation = await engine.generate({ tokens }, { temperature: 0, maxTokens: 20, ignoreEos: true });
  console.log(`${code} ${String(output) === String(generation.tokens) ? "same" : "other"} tokens`);
} else {
  const engine = await Engine.load(workerData);
  if (process.argv[2] === "end") {
    const generation = await engine.generate({ tokens }, { temperature: 0, maxTokens: 20, ignoreEos: true });
    parentPort.postMessage(generation.tokens);
  } else {
    let steps = 0;
    const options = { temperature: 0, ignoreEos: true };
    for await (const _ of engine.stream({ tokens }, options))
      if (++steps === 3) parentPort.postMessage("running");
  }
}
