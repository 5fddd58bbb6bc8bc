/**
 * The demo's 100 transcripts, turn by turn from the golden prompts, all at once: tokens and logprobs against Hugging
 * Face's float32 run, by the rule of the demo's README. (tests/demo plays the tasks themselves.)
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Engine, type Generation } from "lockstep";
import { expect, it } from "vitest";

const pathOf = (name: string) => fileURLToPath(new URL(`../../examples/demo/${name}`, import.meta.url));

interface Turn {
  prompt_tokens: number[];
  tokens: number[];
  logprobs: number[];
  gaps: number[];
}

interface Golden {
  tasks: { id: string; turns: Turn[] }[];
  bf16_rms: number;
  steps: number;
}

const golden: Golden | undefined = existsSync(pathOf("golden.json"))
  ? JSON.parse(readFileSync(pathOf("golden.json"), "utf8"))
  : undefined;

it.skipIf(!golden)(
  "agrees with the demo's transcripts wherever a gap is wide enough",
  { timeout: 180_000 },
  async () => {
    const { tasks, bf16_rms: rms, steps } = golden!;
    const turns = tasks.flatMap(({ id, turns }) =>
      turns.map((turn, i) => ({ ...turn, name: `${id}, turn ${i}` })),
    );
    expect(turns.reduce((sum, { tokens }) => sum + tokens.length, 0)).toBe(steps);

    await using engine = await Engine.load(pathOf("model"));
    const options = { temperature: 0, maxTokens: 96, logprobs: true };
    const generations = await Promise.all(
      turns.map(({ prompt_tokens }) => engine.generate({ tokens: prompt_tokens }, options)),
    );
    expect(engine.stats().maxBatch).toBeGreaterThan(8);

    let compared = 0;
    let squares = 0;
    let largest = 0;
    const differences: { name: string; step: number; gap: number }[] = [];
    turns.forEach((turn, i) => {
      const { tokens, logprobs } = generations[i] as Generation;
      const differs = turn.tokens.findIndex((token, step) => token !== tokens[step]);
      if (differs >= 0) differences.push({ name: turn.name, step: differs, gap: turn.gaps[differs]! });
      else expect(tokens.length, turn.name).toBe(turn.tokens.length);
      for (let step = 0; step < (differs < 0 ? turn.tokens.length : differs); ++step) {
        const distance = Math.abs(logprobs![step]! - turn.logprobs[step]!);
        squares += distance ** 2;
        largest = Math.max(largest, distance);
        compared += 1;
      }
    });
    const logprobRms = Math.sqrt(squares / compared);
    for (const { name, step, gap } of differences)
      console.log(`${name}: step ${step} differs, golden gap ${gap}`);
    console.log(
      `demo: ${differences.length} turns differ from some step on; ${compared} of ${steps} steps compared; ` +
        `logprobs at RMS ${logprobRms.toExponential(2)}, at most ${largest.toExponential(2)}; bf16_rms ${rms}`,
    );
    for (const { name, gap } of differences) expect(gap, name).toBeLessThan(4 * rms);
    // A logprob is a logit minus a log-sum-exp, which is an average of logits: two errors of the yardstick's size.
    expect(logprobRms).toBeLessThanOrEqual(1.1 * Math.SQRT2 * rms);
    // 6,338 draws stay within 4.5 standard deviations where they are normal; logits of one step share their roundings.
    expect(largest).toBeLessThanOrEqual(8 * Math.SQRT2 * rms);
  },
);
