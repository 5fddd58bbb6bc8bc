/** Lockstep as a peer of the others: node lockstep.mjs CHECKPOINT THREADS CONTEXT */
import { readFileSync } from "node:fs";
import { Engine } from "lockstep";
import { serve, timed } from "./serve.mjs";

const [checkpoint, threads, context] = process.argv.slice(2);
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
const engine = await Engine.load(checkpoint, {
  ...{ device: "cpu", threads: Number(threads), prefixCache: false },
  kvCacheTokens: Number(context) + 64 * 16,
});
await serve({ name: "lockstep", version }, (question) =>
  timed(question, async function* start(prompt) {
    const sampling = { temperature: 0, ignoreEos: true, maxTokens: question.tokens ?? 1 };
    for await (const { tokens } of engine.stream({ tokens: prompt }, sampling)) yield* tokens;
  }),
);
await engine.close();
