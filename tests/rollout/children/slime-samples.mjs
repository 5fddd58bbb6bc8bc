/** Lines for the journal, of 0.5 kB to 250 kB. */
export function slimeSample(group, k, seed) {
  const length = group % 7 === 0 ? 2 ** 16 : 2 ** 6;
  const tokens = Array.from({ length }, (_, i) => (i * 31 + group + k + seed) % 1000);
  return {
    ...{
      group_index: group,
      index: group * 65_536 + k,
      prompt: "é",
      tokens,
      response: "\n",
      response_length: 0,
    },
    ...{ loss_mask: [], rollout_log_probs: [], weight_versions: ["0"], status: "completed" },
    metadata: { lockstep: { sampleIndex: k, seed } },
  };
}
