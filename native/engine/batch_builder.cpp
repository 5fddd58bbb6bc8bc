#include "engine/batch_builder.h"

#include <algorithm>

namespace lockstep {
namespace {

SampleRow scoring_row(const Request& request, int32_t position) {
  SampleRow row;
  row.chosen = request.tokens[position];
  row.logprobs = true;
  row.top_logprobs = request.score.top_logprobs;
  row.token_ids = request.score.token_ids;
  return row;
}

// Of the sequence that was added last.
void add_head_rows(Batch& batch, Request& request, int32_t first_row, int32_t begin, int32_t end) {
  const auto add = [&](int32_t position, bool sampled, const SampleRow& row) {
    batch.step.head_rows.push_back(first_row + position - begin);
    batch.step.samples.push_back(row);
    batch.head_rows.push_back({batch.step.sequences.size() - 1, sampled});
  };
  // The row at position p predicts the token at p + 1.
  const int32_t last = std::min(end, request.prompt_length - 1);
  for (int32_t p = std::max(begin, request.next_scored() - 1); p < last; ++p)
    add(p, false, scoring_row(request, p + 1));
  if (end < request.length() || request.sampling.max_tokens == 0) return;
  request.head_row = static_cast<int32_t>(batch.head_rows.size());
  add(end - 1, true, sampling_row(request));
}

}  // namespace

SampleRow sampling_row(const Request& request) {
  const SamplingParams& sampling = request.sampling;
  const int32_t output = request.output_length();
  SampleRow row;
  if (static_cast<size_t>(output) < sampling.forced_tokens.size())
    row.chosen = sampling.forced_tokens[output];
  row.temperature = sampling.temperature;
  row.top_k = sampling.top_k;
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.repetition_penalty = sampling.repetition_penalty;
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.history = request.history.counts();
  row.bias = sampling.logit_bias;
  if (output < sampling.min_tokens) row.banned = sampling.stop_token_ids;
  row.seed = sampling.seed;
  row.sample_index = sampling.sample_index;
  row.position = static_cast<uint32_t>(request.length());
  row.logprobs = sampling.logprobs;
  row.top_logprobs = sampling.top_logprobs;
  row.kept_token_ids = sampling.kept_token_ids;
  return row;
}

void build_batch(Batch& batch, std::span<const Scheduled> scheduled) {
  Step& step = batch.step;
  step.tokens.clear();
  step.positions.clear();
  step.sequences.clear();
  step.head_rows.clear();
  step.samples.clear();
  batch.head_rows.clear();
  batch.scheduled.assign(scheduled.begin(), scheduled.end());
  for (const auto& [request, num_tokens, begin] : scheduled) {
    const int32_t first_row = static_cast<int32_t>(step.tokens.size());
    const int32_t end = begin + num_tokens;
    step.sequences.push_back({.first_row = first_row,
                              .num_tokens = num_tokens,
                              .start_position = begin,
                              .blocks = request->blocks.data()});
    for (int32_t position = begin; position < end; ++position) {
      step.tokens.push_back(request->tokens[position]);
      step.positions.push_back(position);
    }
    add_head_rows(batch, *request, first_row, begin, end);
  }
}

}  // namespace lockstep
