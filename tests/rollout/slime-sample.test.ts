/**
 * What toSlimeSample writes against slime's own rules: the fields of `Sample` and their types in slime/utils/types.py, what
 * `Sample.from_dict` needs, and what `Sample._validate_response_metadata_lengths` refuses (THUDM/slime at 624b824a).
 */
import { expect, it } from "vitest";
import { LockstepError } from "../../src/errors.js";
import { type SlimeSample, toSlimeSample } from "../../src/rollout/slime-sample.js";
import type { RolloutSample } from "../../src/rollout/types.js";
import { sampleOf } from "./samples.js";

const isInteger = (value: unknown) => Number.isInteger(value);
const isString = (value: unknown) => typeof value === "string";
const isDict = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
const listOf = (item: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.every(item);

/** Of slime's fields those that we write. from_dict makes any other key an attribute, which nothing reads. */
const FIELDS: Record<string, (value: unknown) => boolean> = {
  group_index: isInteger,
  index: isInteger,
  prompt: (value) => isString(value) || listOf(isDict)(value),
  tokens: listOf(isInteger),
  response: isString,
  response_length: isInteger,
  reward: Number.isFinite,
  loss_mask: listOf((value) => value === 0 || value === 1),
  weight_versions: listOf(isString),
  rollout_log_probs: listOf(Number.isFinite),
  rollout_top_p_token_ids: listOf(isInteger),
  rollout_top_p_token_offsets: listOf(isInteger),
  status: (value) => ["pending", "completed", "truncated", "aborted", "failed"].includes(value as string),
  metadata: isDict,
};

/** Through JSON, as a file would hold it, and held against slime's rules. */
function written(sample: RolloutSample): SlimeSample {
  const slime = JSON.parse(JSON.stringify(toSlimeSample(sample))) as SlimeSample;
  for (const [name, value] of Object.entries(slime)) {
    expect(FIELDS, name).toHaveProperty(name);
    expect(FIELDS[name]!(value), `${name}: ${JSON.stringify(value)}`).toBe(true);
  }
  expect(slime).toHaveProperty("status"); // the one key that from_dict indexes
  expect(slime.tokens.length).toBeGreaterThanOrEqual(slime.response_length);
  expect(slime.loss_mask).toHaveLength(slime.response_length);
  expect(slime.rollout_log_probs).toHaveLength(slime.response_length);
  const { rollout_top_p_token_ids: ids, rollout_top_p_token_offsets: offsets } = slime;
  expect(ids === undefined).toBe(offsets === undefined);
  if (ids && offsets) {
    expect(offsets).toHaveLength(slime.response_length + 1);
    expect([offsets[0], offsets.at(-1)]).toEqual([0, ids.length]);
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
  }
  return slime;
}

it("maps a sample's fields to slime's", () => {
  const sample = sampleOf({ reward: 0.5, metadata: { label: "42" } });
  expect(written(sample)).toMatchObject({
    group_index: 3,
    index: 3 * 65_536 + 2,
    prompt: sample.prompt,
    tokens: sample.tokens,
    response: "Good evening",
    response_length: 4,
    reward: 0.5,
    loss_mask: [1, 1, 0, 1],
    rollout_log_probs: sample.temperatureLogprobs, // 0 on the observation
    weight_versions: ["0", "4"],
    status: "completed",
    metadata: { label: "42" },
  });
});

it.each<[Partial<RolloutSample>, string]>([
  [{ finishReason: "stop" }, "completed"],
  [{ finishReason: "length" }, "truncated"],
  [{ finishReason: "abort" }, "aborted"],
  [{ finishReason: "abort", error: new LockstepError("CALLBACK_FAILED", "reward threw") }, "failed"],
  [{ finishReason: "stop", error: { code: "CALLBACK_FAILED", message: "reward threw" } }, "failed"],
])("writes %j as %s", (changes, status) => {
  const slime = written(sampleOf(changes));
  expect(slime.status).toBe(status);
  if (changes.error)
    expect(slime.metadata.lockstep.error).toMatchObject({
      code: "CALLBACK_FAILED",
      message: "reward threw",
    });
});

it("writes a prompt of text as it is, and none for ids", () => {
  expect(written(sampleOf({ prompt: "Once" })).prompt).toBe("Once");
  expect(written(sampleOf({ prompt: [10, 11, 12] })).prompt).toBe("");
});

it("writes kept ids as slime's ragged rows, empty on observations", () => {
  const slime = written(sampleOf({ keptTokenIds: [[1, 20], [21], [], [4, 5, 22]] }));
  expect(slime.rollout_top_p_token_ids).toEqual([1, 20, 21, 4, 5, 22]);
  expect(slime.rollout_top_p_token_offsets).toEqual([0, 2, 3, 3, 6]);
});

it("writes a sample without a response", () => {
  const nothing = { lossMask: [], logprobs: [], temperatureLogprobs: [], samplingLogprobs: [] };
  const slime = written(
    sampleOf({ ...nothing, responseLength: 0, text: "", weightVersions: [], keptTokenIds: [] }),
  );
  expect(slime).toMatchObject({ weight_versions: [], rollout_top_p_token_offsets: [0] });
});

it("keeps the whole of the sample", () => {
  const sample = sampleOf({ reward: 1, metadata: { task: 9 }, keptTokenIds: [[20], [21], [], [22]] });
  const { metadata, tokens, prompt, response, response_length: responseLength, ...rest } = written(sample);
  const { lockstep, ...given } = metadata;
  expect({
    ...lockstep,
    ...{ tokens, prompt, responseLength, metadata: given, text: response },
    groupIndex: rest.group_index,
    lossMask: rest.loss_mask,
    temperatureLogprobs: rest.rollout_log_probs,
    reward: rest.reward,
    keptTokenIds: sample.lossMask.map((_, i) =>
      rest.rollout_top_p_token_ids?.slice(...(rest.rollout_top_p_token_offsets ?? []).slice(i, i + 2)),
    ),
  }).toEqual(sample);
});

it.each([[["a"]], ["a"], [7], [null]])("keeps metadata that is no object: %j", (metadata) => {
  expect(written(sampleOf({ metadata })).metadata).toEqual({
    lockstep: expect.objectContaining({ metadata }),
  });
});

it.each<[string, unknown, RegExp]>([
  ["nothing", undefined, /for sample but/],
  [
    "a mask that is too short",
    sampleOf({ lossMask: [1] }),
    /4 items \(responseLength\) for sample\.lossMask/,
  ],
  [
    "missing log probabilities",
    sampleOf({ temperatureLogprobs: undefined as never }),
    /an array for sample\.temp/,
  ],
  ["kept ids that are too many", sampleOf({ keptTokenIds: [[], [], [], [], []] }), /sample\.keptTokenIds/],
  ["more response than tokens", sampleOf({ responseLength: 8 }), /\[0, 7\] for sample\.responseLength/],
  [
    "a forced token that was banned",
    sampleOf({ temperatureLogprobs: [0, -Infinity, 0, 0] }),
    /finite number for sample\.temperatureLogprobs\[1\]/,
  ],
  ["an unknown end", sampleOf({ finishReason: "eos" as never }), /sample\.finishReason/],
])("refuses %s", (_, sample, message) => {
  const refused = () => toSlimeSample(sample as RolloutSample);
  expect(refused).toThrow(message);
  expect(refused).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
