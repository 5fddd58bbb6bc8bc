/**
 * Owns a sample as slime's trainer reads it: an object whose JSON `Sample.from_dict` of slime/utils/types.py takes
 * (THUDM/slime at 624b824a). Pure. Must not lose anything: what slime has no field for goes under `metadata.lockstep`.
 */
import type { ChatMessage } from "../chat/types.js";
import { integer, isPlainObject, oneOf, reading } from "../check.js";
import { invalid } from "../errors.js";
import type { RolloutSample } from "./types.js";

/** Fields and names are slime's. R: `response_length`. */
export interface SlimeSample {
  group_index: number;
  /** Unique in a run, and in the order of groups: group_index × 65,536 + sampleIndex. */
  index: number;
  /** "" where the prompt was given as ids: they begin `tokens`. */
  prompt: string | ChatMessage[];
  /** Prompt and response. */
  tokens: number[];
  response: string;
  response_length: number;
  reward?: number;
  /** [R]: 1 on tokens that the model sampled, 0 on observations. */
  loss_mask: number[];
  /** [R]: the sample's `temperatureLogprobs`; 0 on observations. */
  rollout_log_probs: number[];
  /** One per span of `weightVersions`. */
  weight_versions: string[];
  /** With `keptTokenIds: true`: those of response token i are [offsets[i], offsets[i + 1]) of these. */
  rollout_top_p_token_ids?: number[];
  /** [R + 1] */
  rollout_top_p_token_offsets?: number[];
  status: "completed" | "truncated" | "aborted" | "failed";
  /** The request's, where that is an object, and under `lockstep` what else the sample holds, by the sample's own names. */
  metadata: Record<string, unknown> & { lockstep: Record<string, unknown> };
}

const kStatus = { stop: "completed", length: "truncated", abort: "aborted" } as const;
const kIndexStride = 65_536;

/** Throws INVALID_ARGUMENT where the sample's lists do not fit each other, or a log probability is not finite. */
export function toSlimeSample(sample: RolloutSample): SlimeSample {
  reading("sample", () => checkSample(sample));
  const { groupIndex, prompt, tokens, text, responseLength, reward, lossMask, ...unmapped } = sample;
  const { temperatureLogprobs, keptTokenIds, metadata, ...others } = unmapped;
  const isObject = isPlainObject(metadata);
  return {
    group_index: groupIndex,
    index: groupIndex * kIndexStride + others.sampleIndex,
    prompt: isIds(prompt) ? "" : prompt,
    tokens,
    response: text,
    response_length: responseLength,
    ...(reward !== undefined && { reward }),
    loss_mask: lossMask,
    rollout_log_probs: temperatureLogprobs,
    weight_versions: others.weightVersions.map(({ version }) => String(version)),
    ...(keptTokenIds && raggedOf(keptTokenIds)),
    status: others.error ? "failed" : kStatus[others.finishReason],
    metadata: {
      ...(isObject && metadata),
      lockstep: { ...others, ...(!isObject && metadata !== undefined && { metadata }) },
    },
  };
}

const isIds = (prompt: RolloutSample["prompt"]): prompt is number[] => typeof prompt[0] === "number";

function raggedOf(rows: number[][]) {
  const offsets = [0];
  for (const row of rows) offsets.push(offsets.at(-1)! + row.length);
  return { rollout_top_p_token_ids: rows.flat(), rollout_top_p_token_offsets: offsets };
}

/** A sample may come from a file of the caller's: what a trainer would choke on is refused here, by name. */
function checkSample(sample: RolloutSample): void {
  if (!isPlainObject(sample)) throw invalid("a sample of engine.rollouts()", "sample", sample);
  const { tokens, responseLength, temperatureLogprobs } = sample;
  list("tokens");
  integer(0, tokens.length)(responseLength, "sample.responseLength");
  for (const name of ["groupIndex", "sampleIndex"] as const)
    integer(0, Number.MAX_SAFE_INTEGER)(sample[name], `sample.${name}`);
  list("lossMask", responseLength);
  list("temperatureLogprobs", responseLength);
  if (sample.keptTokenIds !== undefined) list("keptTokenIds", responseLength);
  list("weightVersions");
  const at = temperatureLogprobs.findIndex((logprob) => !Number.isFinite(logprob));
  if (at >= 0) throw invalid("a finite number", `sample.temperatureLogprobs[${at}]`, temperatureLogprobs[at]);
  oneOf("stop", "length", "abort")(sample.finishReason, "sample.finishReason");

  function list(name: keyof RolloutSample, length?: number): void {
    const value = sample[name];
    if (!Array.isArray(value)) throw invalid("an array", `sample.${name}`, value);
    if (length !== undefined && value.length !== length)
      throw invalid(`${length} items (responseLength)`, `sample.${name}`, value);
  }
}
