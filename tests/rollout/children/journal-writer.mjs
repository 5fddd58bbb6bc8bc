/**
 * Writes the samples of groups 0 … GROUPS - 1, four each, that FILE does not have, several at a time; prints a dot once it has
 * begun. What is in a sample is a function of its key.
 *
 *   node journal-writer.mjs FILE GROUPS SEED
 */
import { Journal } from "../../../dist/rollout/journal.js";
import { slimeSample } from "./slime-samples.mjs";

const [path, groups, seed] = process.argv.slice(2);
try {
  const journal = await Journal.open(path, { groups }, { seed: Number(seed) });
  process.stdout.write(".");
  for (let group = 0; group < Number(groups); ++group) {
    for (let k = 0; k < 4; ++k)
      if (!journal.has(group, k)) await journal.append(slimeSample(group, k, journal.settings.seed));
    await new Promise((resolve) => setTimeout(resolve, 2)); // some lines alone, some together
  }
  await journal.close();
} catch (error) {
  console.error(`${error.code} ${error.message}`);
  process.exitCode = 1;
}
