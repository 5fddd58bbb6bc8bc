/**
 * Plays recorded episodes through an engine: the model is made to write what the agent wrote then, the user says what it said.
 *
 *   node full-run.mjs CHECKPOINT SHARED OUTPUT TASKS
 *
 * Prints a dot for each attempt that is finished, and at the end a line of JSON: what the engine did.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  isOutcome,
  kDomains,
  recordedUser,
  runEval,
  Tau2Data,
  tau2Domain,
} from "../../../../dist/eval/index.js";
import { Engine } from "../../../../dist/index.js";

const [checkpoint, shared, output, tasks] = process.argv.slice(2);
const recordings = join(shared, "golden/episodes_train_gold.jsonl");
const episodes = readFileSync(recordings, "utf8")
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line));
const texts = new Map(
  episodes.map(({ domain, task_id, steps }) => [
    `${domain} ${task_id}`,
    steps.map((step) => step.assistant_text),
  ]),
);

const engine = await Engine.load(checkpoint, { kvCacheTokens: 400_000, maxSequences: 32 });
const data = new Tau2Data(shared);
const golden = join(shared, "golden");
const domains = kDomains.map((domain) =>
  forced(
    tau2Domain({
      directory: shared,
      data,
      domain,
      toolSchemas: golden,
      agentPrompt: golden,
      user: recordedUser([recordings]),
    }),
  ),
);
const before = process.memoryUsage().rss;
const started = performance.now();
await runEval(engine, domains, {
  ...{
    split: "train",
    maxTasksPerDomain: Number(tasks),
    output,
    journal: `${output}.journal.jsonl`,
    model: "random",
    concurrency: Number(process.env.CONCURRENCY ?? 256),
  },
  onAttempt: () => process.stdout.write("."),
});
const { steps, promptTokens, cachedTokens, generatedTokens } = engine.stats();
const seconds = (performance.now() - started) / 1000;
const grownMiB = (process.memoryUsage().rss - before) / 2 ** 20;
await engine.close();
process.stdout.write(
  `\n${JSON.stringify({ seconds, steps, promptTokens, cachedTokens, generatedTokens, grownMiB })}\n`,
);

/** Each turn's tokens are those of the recorded text. */
function forced(domain) {
  const withTokens = (next, id, step) => {
    if (isOutcome(next)) return next;
    const forcedTokens = engine.tokenizer.encode(texts.get(`${domain.name} ${id}`)[step]);
    return { ...next, sampling: { ...next.sampling, forcedTokens } };
  };
  return {
    ...domain,
    async start(task, attempt) {
      const episode = await domain.start(task, attempt);
      let step = 0;
      return {
        first: withTokens(episode.first, task.id, step),
        step: async (text) => withTokens(await episode.step(text), task.id, ++step),
        end: (reason) => episode.end(reason),
      };
    },
  };
}
