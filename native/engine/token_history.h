// How often each token occurs in a request, prompt and output counted apart: what penalties are computed
// from.
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "ops/sampling.h"

namespace lockstep {

class TokenHistory {
 public:
  void add_prompt(int32_t token) { ++entry(token).prompt_count; }
  void add_output(int32_t token) { ++entry(token).output_count; }
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  TokenCount& entry(int32_t token) {
    const auto [found, added] = index_.try_emplace(token, counts_.size());
    if (added) counts_.push_back({token, 0, 0});
    return counts_[found->second];
  }

  std::vector<TokenCount> counts_;  // in the order of first occurrence
  std::unordered_map<int32_t, size_t> index_;
};

}  // namespace lockstep
