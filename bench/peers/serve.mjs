/** What peers in Node share: lines of JSON in and out, and the clock of a batch. */
import { createInterface } from "node:readline";

/** `answer(question)` for each line; one at a time. */
export async function serve(hello, answer) {
  say({ ready: true, ...hello });
  for await (const line of createInterface({ input: process.stdin })) say(await answer(JSON.parse(line)));
}

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);

/**
 * Runs a batch: `start(prompt)` gives an async iterable of token ids for each. Seconds are those after the last one's first token for more than one token,
 * else those up to it.
 */
export async function timed({ prompts, tokens: wanted = 1 }, start) {
  const began = performance.now();
  let lastFirst = began;
  const tokens = await Promise.all(
    prompts.map(async (prompt) => {
      const ids = [];
      for await (const id of start(prompt)) {
        if (ids.length === 0) lastFirst = Math.max(lastFirst, performance.now());
        if (ids.push(id) === wanted) break;
      }
      return ids;
    }),
  );
  const ended = performance.now();
  return { seconds: (wanted === 1 ? lastFirst - began : ended - lastFirst) / 1000, tokens };
}
