/**
 * Owns a sample as data: an empty one, how it grows, a copy, and the check of one that comes from elsewhere. Any thread, no
 * state. Every list of a response has an entry per response token, whatever happens.
 */
import { type Check, integer, isPlainObject, oneOf, reading, tokenIds } from "../check.js";
import { invalid } from "../errors.js";
import { type Continuation, extendSpans, type Generation } from "../stream.js";
import type { RolloutEngine } from "./rollout-engine.js";
import type { RolloutSample } from "./types.js";

/** A sample's lists with a number per response token, from the engine; 0 on observations. */
const kLogprobs = ["logprobs", "temperatureLogprobs", "samplingLogprobs"] as const;

/** Before anything happened: what is in progress has the finishReason "abort", until it ends otherwise. */
export function emptySample(
  known: Pick<RolloutSample, "groupIndex" | "sampleIndex" | "seed" | "computePath" | "sampling">,
): RolloutSample {
  return {
    ...known,
    prompt: "",
    tokens: [],
    responseLength: 0,
    text: "",
    lossMask: [],
    logprobs: [],
    temperatureLogprobs: [],
    samplingLogprobs: [],
    ...(known.sampling.keptTokenIds && { keptTokenIds: [] }),
    weightVersions: [],
    finishReason: "abort",
    turns: 0,
    usage: { promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
  };
}

/** A sample that changes by itself; prompt, metadata and sampling, which nothing changes, are shared. */
export function copyOf(sample: RolloutSample): RolloutSample {
  const copy: Record<string, unknown> = { ...sample, usage: { ...sample.usage } };
  for (const [key, value] of Object.entries(sample))
    if (Array.isArray(value) && key !== "prompt") copy[key] = [...value];
  return copy as unknown as RolloutSample;
}

/** How many tokens the model has of its turn: those behind the last observation. */
export const turnLength = ({ responseLength, lossMask }: RolloutSample): number =>
  responseLength - (lossMask.lastIndexOf(0) + 1);

/** The last `count` tokens, as what a turn has already. */
export function lastTokens(sample: RolloutSample, count: number): Continuation {
  const lists = [...kLogprobs, "keptTokenIds" as const].map((key) => [key, sample[key]?.slice(-count)]);
  return { tokens: sample.tokens.slice(-count), ...Object.fromEntries(lists) };
}

/** What the model said, from its token `given` on: the sample has those before it. */
export function takeAnswer(sample: RolloutSample, answer: Generation, given: number): void {
  const added = answer.tokens.slice(given);
  const before = sample.responseLength - given;
  append(sample, added, 1);
  for (const { version, to } of answer.weightVersions)
    if (to > given) extendSpans(sample.weightVersions, version, before + to);
  for (const key of kLogprobs) sample[key] = sample[key].concat(answer[key]!.slice(given));
  if (sample.keptTokenIds)
    sample.keptTokenIds = sample.keptTokenIds.concat(answer.keptTokenIds!.slice(given));
  delete sample.stop;
  if (answer.stop !== undefined) sample.stop = answer.stop;
  if (added.length === 0) return;
  if (given === 0) ++sample.turns;
  sample.usage.completionTokens += added.length;
  sample.usage.promptTokens += answer.usage.promptTokens + given;
  sample.usage.cachedTokens += answer.usage.cachedTokens;
}

export function takeObservation(sample: RolloutSample, ids: number[]): void {
  append(sample, ids, 0);
  extendSpans(sample.weightVersions, sample.weightVersions.at(-1)!.version, sample.responseLength);
  const zeros = new Array<number>(ids.length).fill(0);
  for (const key of kLogprobs) sample[key] = sample[key].concat(zeros);
  if (sample.keptTokenIds) sample.keptTokenIds = sample.keptTokenIds.concat(ids.map(() => []));
  delete sample.stop;
}

function append(sample: RolloutSample, ids: number[], mask: 0 | 1): void {
  sample.tokens = sample.tokens.concat(ids);
  sample.lossMask = sample.lossMask.concat(new Array<number>(ids.length).fill(mask));
  sample.responseLength += ids.length;
}

const count = integer(0, Number.MAX_SAFE_INTEGER);
const finite: Check<number> = (value, where) => {
  if (!Number.isFinite(value)) throw invalid("a finite number", where, value);
  return value as number;
};

/** A copy of a sample to go on from, from a file, say. Its prompt and sampling are checked as a request's (planOf). */
export function checkSample(value: unknown, engine: RolloutEngine): RolloutSample {
  return reading("sample", () => {
    if (!isPlainObject(value)) throw invalid("a sample of engine.rollouts()", "sample", value);
    const sample = copyOf(value as unknown as RolloutSample);
    const { length } = tokenIds(engine.vocabSize, engine.limits.maxContext)(sample.tokens, "sample.tokens");
    const responseLength = integer(0, Math.max(0, length - 1))(
      sample.responseLength,
      "sample.responseLength",
    );
    for (const key of ["groupIndex", "turns"] as const) count(sample[key], `sample.${key}`);
    for (const key of ["promptTokens", "completionTokens", "cachedTokens"] as const)
      count(sample.usage[key], `sample.usage.${key}`);
    items(sample, "lossMask", responseLength, integer(0, 1));
    for (const key of kLogprobs) items(sample, key, responseLength, finite);
    checkKept(sample, engine.vocabSize);
    checkSpans(items(sample, "weightVersions"), responseLength);
    oneOf("stop", "length", "abort")(sample.finishReason, "sample.finishReason");
    if (sample.computePath !== engine.computePath)
      throw invalid(`'${engine.computePath}', this engine's,`, "sample.computePath", sample.computePath);
    delete sample.error;
    return sample;
  });
}

/** One of a sample's lists: an array, of that length where one is given, each item checked. */
function items(
  sample: RolloutSample,
  key: keyof RolloutSample,
  length?: number,
  check?: Check<unknown>,
): unknown[] {
  const list = sample[key];
  const where = `sample.${key}`;
  if (!Array.isArray(list)) throw invalid("an array", where, list);
  if (length !== undefined && list.length !== length)
    throw invalid(`${length} items (responseLength)`, where, list);
  if (check) for (const [i, item] of list.entries()) check(item, `${where}[${i}]`);
  return list;
}

/** There where they were asked for, and only there. */
function checkKept(sample: RolloutSample, vocabSize: number): void {
  const { keptTokenIds, sampling, responseLength } = sample;
  if ((keptTokenIds !== undefined) !== (sampling?.keptTokenIds === true))
    throw invalid("a list where sampling.keptTokenIds is true", "sample.keptTokenIds", keptTokenIds);
  if (keptTokenIds) items(sample, "keptTokenIds", responseLength, tokenIds(vocabSize));
}

function checkSpans(spans: unknown[], responseLength: number): void {
  let from = 0;
  spans.forEach((span, i) => {
    const where = `sample.weightVersions[${i}]`;
    if (!isPlainObject(span) || span.from !== from)
      throw invalid(`a span of { version, from: ${from}, to }`, where, span);
    count(span.version, `${where}.version`);
    from = integer(from + 1, responseLength)(span.to, `${where}.to`);
  });
  if (from !== responseLength)
    throw invalid(`spans up to ${responseLength} (responseLength)`, "sample.weightVersions", spans);
}
