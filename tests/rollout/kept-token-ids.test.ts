/** keptTokenIds in rollouts: one set per token of the model's, none on observations, kept through resume and to slime. */
import { Engine, type RolloutSample, toSlimeSample } from "lockstep";
import { expect, it } from "vitest";
import { collect, faults, kChat, kDemoModel, whatCounts } from "./support.js";

/** The sample as it was after `count` response tokens of its first turn. */
function cut(sample: RolloutSample, count: number): RolloutSample {
  const per = (key: "lossMask" | "logprobs" | "temperatureLogprobs" | "samplingLogprobs") => ({
    [key]: sample[key].slice(0, count),
  });
  const { stop: _, ...rest } = sample;
  return {
    ...rest,
    tokens: sample.tokens.slice(0, sample.tokens.length - sample.responseLength + count),
    responseLength: count,
    ...per("lossMask"),
    ...per("logprobs"),
    ...per("temperatureLogprobs"),
    ...per("samplingLogprobs"),
    keptTokenIds: sample.keptTokenIds!.slice(0, count),
    weightVersions: [{ version: 0, from: 0, to: count }],
    turns: 1,
    finishReason: "abort",
  };
}

it("keptTokenIds go with a sample of several turns, whole or resumed", async () => {
  const engine = await Engine.load(kDemoModel, { threads: 1 });
  const sampling = { temperature: 1.3, topP: 0.9, seed: 3, maxTokens: 200, keptTokenIds: true };
  const turn = ({ turns }: RolloutSample) =>
    turns === 1 ? { messages: [{ role: "tool" as const, content: "42 degrees" }] } : undefined;
  const request = { prompt: kChat, sampling, turn };
  const [sample] = await collect(engine.rollouts([request]));
  expect(faults(sample!)).toEqual([]);
  const { tokens, responseLength, lossMask, keptTokenIds, turns } = sample!;
  expect(turns).toBe(2);
  expect(keptTokenIds).toHaveLength(responseLength);
  const response = tokens.slice(-responseLength);
  for (const [i, ids] of keptTokenIds!.entries())
    if (lossMask[i] === 0) expect(ids).toEqual([]);
    else expect(ids).toContain(response[i]);

  for (const count of [1, lossMask.indexOf(0)])
    expect(whatCounts(await engine.resume(cut(sample!, count), { turn }))).toEqual(whatCounts(sample!));
  await expect(engine.resume({ ...cut(sample!, 1), keptTokenIds: [] })).rejects.toThrow(
    /sample\.keptTokenIds/,
  );

  const slime = toSlimeSample(sample!);
  const offsets = slime.rollout_top_p_token_offsets!;
  expect(offsets).toHaveLength(responseLength + 1);
  expect(
    keptTokenIds!.map((_, i) => slime.rollout_top_p_token_ids!.slice(offsets[i], offsets[i + 1])),
  ).toEqual(keptTokenIds);
  await engine.close();
});
