/**
 * Owns the pieces of work whose kernels are profiled, and arithmetic on profiles. Main thread; on the engine's public API
 * alone.
 */
import type { Engine, Profile } from "../../index.js";
import { GREEDY } from "./work.js";

/** Steps that this thread may hear of too late: sequences go on for as long, so that all decode while steps are counted. */
export const LATE_STEPS = 128;

export const NO_STEPS: Profile = { steps: 0, seconds: 0, kernels: [] };

/** a + sign × b, kernel by kernel. */
export function combine(a: Profile, b: Profile, sign: 1 | -1): Profile {
  const kernels = new Map(a.kernels.map((kernel) => [kernel.name, { ...kernel }]));
  for (const { name, ...more } of b.kernels) {
    const kernel = kernels.get(name) ?? { name, calls: 0, seconds: 0, bytes: 0, flops: 0 };
    for (const key of ["calls", "seconds", "bytes", "flops"] as const) kernel[key] += sign * more[key];
    kernels.set(name, kernel);
  }
  return {
    steps: a.steps + sign * b.steps,
    seconds: a.seconds + sign * b.seconds,
    kernels: [...kernels.values()].filter(({ calls }) => calls !== 0),
  };
}

/** Of the steps of one prompt. */
export async function profilePrefill(
  engine: Engine,
  prompt: number[],
  signal: AbortSignal,
): Promise<Profile> {
  const before = engine.profile();
  await engine.generate({ tokens: prompt }, { ...GREEDY, maxTokens: 1, signal });
  signal.throwIfAborted();
  return combine(engine.profile(), before, -1);
}

/** Of `newTokens` steps or a few more in which all prompts decode. */
export async function profileDecode(
  engine: Engine,
  prompts: number[][],
  newTokens: number,
  signal: AbortSignal,
): Promise<Profile> {
  const enough = new AbortController();
  const sampling = {
    ...GREEDY,
    maxTokens: newTokens + LATE_STEPS,
    signal: AbortSignal.any([signal, enough.signal]),
  };
  const begun = new Set<number[]>();
  let ended = false;
  const said: Profile[] = []; // while all decode
  const read = async (prompt: number[]) => {
    for await (const { generation } of engine.stream({ tokens: prompt }, sampling)) {
      begun.add(prompt);
      ended ||= generation !== undefined;
      if (begun.size < prompts.length || ended) continue;
      said.push(engine.profile());
      if (said.at(-1)!.steps - said[0]!.steps >= newTokens) enough.abort();
    }
  };
  await Promise.all(prompts.map(read));
  signal.throwIfAborted();
  const [first, last] = [said[0], said.at(-1)];
  if (!first || !last || last.steps === first.steps)
    throw new Error("The steps in which all sequences decode were over before this thread heard of them");
  return combine(last, first, -1);
}
