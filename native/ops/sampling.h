// What the sampling verb is asked and what it answers, one of each per row of logits. Plain data.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace lockstep {

// Stands for a token that is not known yet: the one that head row `row` of the step before takes. Negative.
constexpr int32_t unsampled(int32_t row) { return -1 - row; }
constexpr int32_t row_of_unsampled(int32_t token) { return -1 - token; }

struct TokenBias {
  int32_t token;
  float bias;  // added to the logit
};

// How often a token occurs in the prompt and in the output so far (each listed one at least once in either).
struct TokenCount {
  int32_t token;
  int32_t prompt_count;
  int32_t output_count;
};

// Filters apply in this order: penalties and bias and banned tokens, temperature, top-k, top-p, min-p. Ties
// go to the lower id.
struct SampleRow {
  int32_t chosen = -1;    // >= 0: this token is taken (scored or forced), nothing is drawn; -1: sample
  float temperature = 0;  // 0 = greedy, whatever the filters say
  int32_t top_k = 0;      // 0 = off
  float top_p = 1;        // 1 = off
  float min_p = 0;        // 0 = off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::span<const TokenCount> history;  // read only where a penalty is on
  std::span<const TokenBias> bias;
  std::span<const int32_t> banned;  // logits set to -inf (min tokens)
  // The draw is a function of these three and of the distribution, of nothing else.
  uint64_t seed = 0;  // [0, 2^53)
  uint32_t sample_index = 0;
  uint32_t position = 0;  // absolute position of the token being drawn, prompt included

  bool logprobs = false;               // fill the three logprobs of the taken token
  int32_t top_logprobs = 0;            // how many of the most likely tokens to list
  std::span<const int32_t> token_ids;  // tokens whose logprobs are wanted besides
  bool kept_token_ids = false;         // list what the filters leave; only where greedy or filtered

  // Whether a filter is on.
  bool filtered(int32_t vocabulary) const { return limits_k(vocabulary) || top_p < 1 || min_p > 0; }
  bool limits_k(int32_t vocabulary) const { return top_k > 0 && top_k < vocabulary; }
  // The length of the list of kept tokens, at most; 0 where it is not asked for.
  int32_t most_kept(int32_t vocabulary) const {
    if (!kept_token_ids) return 0;
    return temperature == 0 ? 1 : limits_k(vocabulary) ? top_k : vocabulary;
  }
};

// Throws unless the row's tokens lie in [0, V) and its options in their ranges: every backend's first act.
void check_sample_row(const SampleRow& row, int32_t vocabulary);

struct TokenLogprob {
  int32_t token;
  double logprob;
};

struct SampleResult {
  int32_t token = -1;
  bool finite = true;       // false: NaN or infinity among the raw logits; nothing else is set
  bool all_banned = false;  // true: penalties, bias and bans leave no token to take; nothing else is set
  double logprob = 0;       // log-softmax of the raw logits
  // Log-softmax after penalties, bias and temperature (none at 0), before top-k, top-p and min-p.
  double temperature_logprob = 0;
  double sampling_logprob = 0;            // of the distribution sampled from; 0 at temperature 0
  std::vector<TokenLogprob> top;          // raw logprobs, most likely first, ties to the lower id
  std::vector<double> token_id_logprobs;  // raw logprobs of row.token_ids, in their order
  std::vector<int32_t> kept_token_ids;    // what the token was, or could have been, drawn from; ascending
};

}  // namespace lockstep
