#include "ops/sampling.h"

#include <cmath>

#include "base/error.h"

namespace lockstep {

void check_sample_row(const SampleRow& row, int32_t vocabulary) {
  const auto check = [](bool fits, const char* what) {
    if (!fits) throw Error("ENGINE_FAILED", std::string("sample: the shapes do not fit ") + what);
  };
  const auto token_fits = [&](int32_t token) { return token >= 0 && token < vocabulary; };
  bool tokens = row.chosen < vocabulary;
  for (const TokenCount& count : row.history) tokens = tokens && token_fits(count.token);
  for (const TokenBias& bias : row.bias) tokens = tokens && token_fits(bias.token) && bias.bias < INFINITY;
  for (const int32_t token : row.banned) tokens = tokens && token_fits(token);
  for (const int32_t token : row.token_ids) tokens = tokens && token_fits(token);
  check(tokens, "token ids in [0, V) and biases below infinity");
  check(!row.kept_token_ids || row.temperature == 0 || row.filtered(vocabulary),
        "kept tokens of a greedy or filtered row");
  check(row.temperature >= 0 && row.temperature < INFINITY && row.top_p >= 0 && row.min_p >= 0 &&
            row.min_p <= 1 && row.repetition_penalty > 0 && row.repetition_penalty < INFINITY &&
            std::abs(row.presence_penalty) < INFINITY && std::abs(row.frequency_penalty) < INFINITY,
        "the options' ranges");
}

}  // namespace lockstep
