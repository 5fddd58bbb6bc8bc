/** What the tests of rollouts share: the demo checkpoint, what is compared of a sample, collecting. */
import { isDeepStrictEqual } from "node:util";
import type { RolloutSample } from "lockstep";

export { kDemoModel, until, withEngine } from "../engine/support.js";

export const kChat = { messages: [{ role: "user", content: "Set the garage to 25 degrees" }] };

export async function collect(samples: AsyncIterable<RolloutSample>): Promise<RolloutSample[]> {
  const all: RolloutSample[] = [];
  for await (const sample of samples) all.push(sample);
  return inOrder(all);
}

export const inOrder = (samples: readonly RolloutSample[]): RolloutSample[] =>
  [...samples].sort((a, b) => a.groupIndex - b.groupIndex || a.sampleIndex - b.sampleIndex);

/** What a sample must have in common with another run of it, to the last bit: not how much of it was cached. */
export function whatCounts(sample: RolloutSample): Partial<RolloutSample> {
  const { usage: _usage, groupIndex: _group, ...rest } = sample;
  return rest;
}

/** What holds of every sample: its lists fit, and the model's tokens have logprobs and observations none. */
export function faults(sample: RolloutSample): string[] {
  const { responseLength, tokens, lossMask, turns, usage } = sample;
  const found: string[] = [];
  if (responseLength > tokens.length) found.push("responseLength");
  for (const key of ["lossMask", "logprobs", "temperatureLogprobs", "samplingLogprobs"] as const)
    if (sample[key].length !== responseLength) found.push(`${key}: ${sample[key].length}`);
  const kept = sample.keptTokenIds?.map(({ length }) => Math.min(length, 1)) ?? lossMask;
  if (!isDeepStrictEqual(kept, lossMask)) found.push("keptTokenIds");
  lossMask.forEach((mask, i) => {
    if ((mask === 1) !== sample.logprobs[i]! < 0) found.push(`logprobs[${i}] with mask ${mask}`);
  });
  const runs = lossMask.filter((mask, i) => mask === 1 && lossMask[i - 1] !== 1).length;
  if (runs !== turns) found.push(`turns: ${turns}, runs of 1: ${runs}`);
  if (usage.completionTokens !== lossMask.filter(Boolean).length) found.push("completionTokens");
  if ((sample.weightVersions.at(-1)?.to ?? 0) !== responseLength) found.push("weightVersions");
  if (!isDeepStrictEqual(JSON.parse(JSON.stringify(sample)), sample)) found.push("JSON");
  return found;
}
