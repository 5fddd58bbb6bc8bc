/** Loads a checkpoint whose weights take a while to convert, and stops in the way that the third argument names. */
import { Engine } from "lockstep";

const [, , model, way] = process.argv;
const controller = new AbortController();
const options = { threads: 1, kvCacheTokens: 16, signal: controller.signal };
const start = performance.now();
const loading = Engine.load(model, options);
loading.catch(() => {});
if (way !== "wait") {
  // Into the conversion: mapping the files takes no time.
  setTimeout(() => {
    console.log("go");
    if (way === "exit") process.exit(7);
    controller.abort();
  }, 150);
}
const end = await loading.then(
  () => "loaded",
  (error) => error.name,
);
console.log(JSON.stringify({ end, ms: performance.now() - start }));
if (end === "loaded") await (await loading).close();
