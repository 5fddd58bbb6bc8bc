// One request inside the engine: what was asked, and how far it has come. Owned by the engine, engine thread
// only.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cache/prefix_cache.h"
#include "engine/token_history.h"
#include "ops/sampling.h"

namespace lockstep {

// How output tokens are chosen. TypeScript has applied all defaults and checked all ranges.
struct SamplingParams {
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<TokenBias> logit_bias;
  uint64_t seed = 0;
  uint32_t sample_index = 0;
  int32_t max_tokens = 0;               // 0: the prompt is computed and nothing is generated (score)
  int32_t min_tokens = 0;               // so many output tokens before a stop token may be drawn
  std::vector<int32_t> forced_tokens;   // output token i is taken from here while there is one
  std::vector<int32_t> stop_token_ids;  // EOS ids included, unless they are to be ignored
  bool logprobs = false;
  int32_t top_logprobs = 0;
  bool kept_token_ids = false;  // TypeScript has seen to it that a filter is on where it is not greedy

  bool penalized() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

// Which prompt tokens are to be given a logprob: those at positions >= from (position 0 has none).
struct ScoreParams {
  int32_t from = -1;  // -1: none
  int32_t top_logprobs = 0;
  std::vector<int32_t> token_ids;
};

// Which hidden states (after the final norm) an embedding is the mean of.
enum class Pooling : uint8_t {
  kNone,  // the request is no embedding
  kLast,  // the last token's
  kMean,  // all tokens'
};

struct Request {
  uint64_t id = 0;
  std::vector<int32_t> tokens;  // prompt, then output; the last one may be unsampled()
  int32_t prompt_length = 0;
  SamplingParams sampling;
  ScoreParams score;
  Pooling pooling = Pooling::kNone;

  PrefixRoot root{};
  TokenHistory history;  // kept only where the sampling is penalized()

  // The scheduler's.
  int32_t num_computed = 0;     // tokens whose K and V are in the cache, or will be by the steps launched
  std::vector<int32_t> blocks;  // KV blocks owned, in the order of the tokens
  int32_t num_remembered = 0;   // of `blocks`, those the prefix cache knows
  PrefixLink link;              // where the next one to remember hangs
  int32_t head_row = 0;         // in the last step launched: the row of its next token
  // Of the tokens it began with, those found in the prefix cache at the first admission; -1: not yet admitted.
  int32_t cached_tokens = -1;

  // Score results so far: of tokens[max(score.from, 1)] and on. A recompute after preemption does not repeat
  // them.
  std::vector<SampleResult> scored;
  int64_t num_kept = 0;  // in the lists of kept tokens so far

  // Of an embedding so far: [D], the sum of the hidden states in the order of their positions. A recompute does
  // not repeat them.
  std::vector<double> pooled;
  int32_t next_pooled = INT32_MAX;  // position of the next one; of another request none

  // What is known before the first step, once `sampling` and `pooling` are: the prompt, and of a sample that goes on where it
  // was interrupted its output so far, which is computed again like a prompt and otherwise counts as output.
  void begin(std::vector<int32_t> prompt, std::span<const int32_t> output) {
    tokens = std::move(prompt);
    prompt_length = length();
    tokens.insert(tokens.end(), output.begin(), output.end());
    forget_pooled();
    if (!sampling.penalized()) return;
    for (int32_t i = 0; i < length(); ++i)
      i < prompt_length ? history.add_prompt(tokens[i]) : history.add_output(tokens[i]);
  }

  void forget_pooled() {
    pooled.clear();
    if (pooling != Pooling::kNone) next_pooled = pooling == Pooling::kMean ? 0 : length() - 1;
  }

  // Debugging only: where NaN or infinity first showed, in words; empty while nowhere.
  std::string non_finite;

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int32_t output_length() const { return length() - prompt_length; }
  int32_t pending_tokens() const { return length() - num_computed; }
  // Position of the next prompt token to score; prompt_length or more: none is left.
  int32_t next_scored() const {
    if (score.from < 0) return prompt_length;
    return (score.from > 1 ? score.from : 1) + static_cast<int32_t>(scored.size());
  }
  // How many leading tokens may come from the prefix cache: not the one whose hidden state is needed first.
  int32_t most_cached_tokens() const {
    return std::min(next_pooled, (next_scored() < prompt_length ? next_scored() : length()) - 1);
  }
};

enum class FinishReason : uint8_t { kNone, kStop, kLength, kAbort, kError };

// What happened to one request in a step; at most one event a request and step, and exactly one with a finish
// reason.
struct RequestEvent {
  uint64_t id = 0;
  SampleResult sample = {};  // sample.token is -1 where the step took no token for this request
  FinishReason finish = FinishReason::kNone;
  std::vector<SampleResult> scored = {};  // with the last event
  std::vector<double> pooled = {};        // [D], with kLength of an embedding
  int32_t cached_tokens = -1;             // Request::cached_tokens
  const char* error_code = nullptr;       // with kError: one of src/errors.ts's codes
  std::string error_message = {};
};

}  // namespace lockstep
