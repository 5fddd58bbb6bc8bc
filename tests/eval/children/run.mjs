/** Plays the counting suite into FILE and its journal; prints a dot once an attempt is finished. `node run.mjs FILE` */
import { runEval } from "../../../dist/eval/index.js";
import { countingDomain, countingEngine } from "./counting.mjs";

const [output] = process.argv.slice(2);
const domains = [countingDomain({ bytes: 20_000 }), countingDomain({ tasks: 6, name: "more" })];
try {
  await runEval(countingEngine({ delay: () => Math.random() * 6 }), domains, {
    ...{ output, journal: `${output}.journal.jsonl`, numSamples: 4, concurrency: 5, model: "none" },
    onAttempt: () => process.stdout.write("."),
  });
} catch (error) {
  console.error(`${error.code} ${error.message}`);
  process.exitCode = 1;
}
