// What the scheduler's model check compares with: a fake model, and a request as that model alone continues it. Inline
// functions without state.
#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/request.h"

namespace lockstep::testing {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* what) {
  if (!holds) throw Violation(what);
}

inline uint64_t mix(uint64_t state, uint64_t word) {
  state = (state ^ word) + 0x9e3779b97f4a7c15u;
  state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
  state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
  return state ^ (state >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix(seed, 1)) {}
  int32_t in(int32_t low, int32_t high) {  // both included
    state_ = mix(state_, 2);
    return low + static_cast<int32_t>(state_ % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int32_t n) { return in(1, n) == 1; }

 private:
  uint64_t state_;
};

constexpr int32_t kAlphabet = 3;  // few token ids, so that prompts meet by chance, too

// The fake model: the content of a K/V slot is a hash of salt, weights and all tokens up to it, the next token a hash of
// the last slot's content.
inline uint64_t slot_after(uint64_t slot, int32_t token) {
  return mix(slot, static_cast<uint64_t>(token) + 7);
}
inline int32_t token_after(uint64_t slot) { return static_cast<int32_t>(mix(slot, 3) % kAlphabet); }

// What is known of a request without the scheduler. `tokens` grows by the fake model alone, without cache, chunks or
// scheduler; at launch, so that a request in a step that is not collected yet is a token behind.
struct Twin {
  std::unique_ptr<Request> request;
  std::vector<int32_t> tokens;
  std::vector<uint64_t> slots;  // of `tokens`
  bool running = false;
  bool admitted = false;  // at least once
  int32_t computed = 0;
  int32_t next_scored = 0;  // position of the next prompt token to be scored
  uint64_t preempted = 0, most_preempted = 0;
  std::vector<int32_t> blocks;  // as of the last look

  void append(int32_t token) {
    uint64_t before = slots.empty() ? 0 : slots.back();
    if (slots.empty())
      for (const uint64_t word : request->root) before = mix(before, word);
    tokens.push_back(token);
    slots.push_back(slot_after(before, token));
  }
  // Other weights: the same tokens so far, another content of every slot. Scores of an unfinished row begin anew.
  void renew(uint64_t weight_version) {
    request->root.back() = weight_version;
    slots.clear();
    for (const int32_t token : std::exchange(tokens, {})) append(token);
    if (next_scored >= request->prompt_length) return;
    request->scored.clear();
    next_scored = request->next_scored();
  }
};

}  // namespace lockstep::testing
