/**
 * Owns the timed pieces of work, and their clock. Main thread; on the engine's public API alone.
 *
 * Random prompts of a fixed seed, greedy, no end of sequence: the same tokens in every round, whatever the speed.
 */
import type { Engine } from "../../index.js";

export interface Timing {
  /** Tokens that were worked on in `seconds`. */
  tokens: number;
  seconds: number;
  /** Output ids of each sequence. */
  output: number[][];
}

export const GREEDY = { temperature: 0, ignoreEos: true } as const;

/** Token ids as random as they need be: a linear congruential generator's upper bits. */
export function randomPrompts(count: number, tokens: number, vocab: number): number[][] {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocab);
  };
  return Array.from({ length: count }, () => Array.from({ length: tokens }, next));
}

/** From the request to the first output token: what a prompt takes. */
export async function timePrefill(engine: Engine, prompt: number[], signal: AbortSignal): Promise<Timing> {
  const start = performance.now();
  const { tokens } = await engine.generate({ tokens: prompt }, { ...GREEDY, maxTokens: 1, signal });
  signal.throwIfAborted();
  return { tokens: prompt.length, seconds: (performance.now() - start) / 1000, output: [tokens] };
}

/**
 * Decoding of all prompts together, from when the last of them has its first token: from there on each step brings
 * every sequence a token. What early ones produce while late ones are prefilled is not counted.
 */
export async function timeDecode(
  engine: Engine,
  prompts: number[][],
  newTokens: number,
  signal: AbortSignal,
): Promise<Timing> {
  const enough = new AbortController();
  const sequences = prompts.map(() => ({ output: [] as number[], times: [] as number[] }));
  const isDone = () => sequences.every(({ output }) => output.length > newTokens);
  let tooShort = false; // a sequence ended by itself: not all decoded all the time
  const read = async (prompt: number[], index: number) => {
    const { output, times } = sequences[index]!;
    const sampling = { ...GREEDY, signal: AbortSignal.any([signal, enough.signal]) };
    for await (const { tokens } of engine.stream({ tokens: prompt }, sampling)) {
      for (const token of tokens) {
        output.push(token);
        times.push(performance.now());
      }
      if (isDone()) enough.abort();
    }
    tooShort ||= !sampling.signal.aborted;
  };
  await Promise.all(prompts.map(read));
  signal.throwIfAborted();
  if (tooShort)
    throw new Error(
      `The context of ${engine.maxContext} tokens is too short to decode ${newTokens} tokens after ${prompts[0]!.length}`,
    );
  const [last] = sequences.map(({ times }) => times).sort((a, b) => b[0]! - a[0]!);
  return {
    tokens: prompts.length * newTokens,
    seconds: (last![newTokens]! - last![0]!) / 1000,
    output: sequences.map(({ output }) => output.slice(0, newTokens + 1)),
  };
}
