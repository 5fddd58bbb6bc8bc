/** A KV cache far beyond the machine: refused by name, or loaded and working, in less than 2 GB. */
import { readFileSync } from "node:fs";
import { Engine } from "lockstep";

const limit = setInterval(() => {
  const rssPages = Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]);
  if (rssPages * 4096 < 2 ** 31) return;
  console.log("more than 2 GB");
  process.kill(process.pid, "SIGKILL");
}, 5);
try {
  const engine = await Engine.load(process.argv[2], { kvCacheTokens: 2 ** 31 - 1, threads: 1 });
  await engine.generate({ tokens: [1, 2, 3] }, { maxTokens: 2 });
  await engine.close();
  console.log("fine");
} catch (error) {
  console.log(["OUT_OF_MEMORY", "INVALID_ARGUMENT"].includes(error.code) ? "fine" : String(error));
}
clearInterval(limit);
