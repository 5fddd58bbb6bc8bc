// Passes over a row of logits for log-sum-exp, argmax, selection
// and the draw; sampling.cpp puts them together.
//
// Every pass takes one chunk of at most kLogitChunk tokens, so its result depends on that chunk alone. Order
// of the sum: lane i of 16 takes exp(x - chunk max) of the elements 16 v + i, v ascending; lanes folded in
// halves. Per call: 4 n bytes; about 4 n FLOPs, 25 n where exponentials are taken. Floor: the logits' bytes
// from L2 / L3.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/activation.h"
#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
struct LogitKernel {
  using F32 = typename S::F32;

  // Up to 16 logits divided by the temperature; lanes beyond n
  // hold -inf. Dividing by 1 changes nothing: skipped.
  static F32 scaled(const float* x, int n, float temperature) {
    F32 v = n >= 16 ? S::load(x) : S::select(S::lanes_below(n), S::load(x, n), S::set1(-__builtin_inff()));
    return temperature == 1.0f ? v : v / S::set1(temperature);
  }

  static int index_of(const float* x, int n, float temperature, float value) {
    for (int i = 0; i < n; i += 16) {
      const uint32_t bits = S::mask_bits(S::equal(scaled(x + i, n - i, temperature), S::set1(value)));
      if (bits != 0) return i + __builtin_ctz(bits);
    }
    return 0;
  }

  static LogitStats logit_stats(const float* x, int n, float temperature, bool want_sum) {
    F32 max = S::set1(-__builtin_inff()), differences = S::zero();
    for (int i = 0; i < n; i += 16) {
      const F32 raw = n - i >= 16 ? S::load(x + i) : S::load(x + i, n - i);
      differences = differences + (raw - raw);  // NaN where raw is NaN or infinite, else 0
      max = S::max(scaled(x + i, n - i, temperature), max);
    }
    float difference;
    S::template fold<1>(&difference, &differences);
    LogitStats stats{S::reduce_max(max), 0, 0.0f, difference == 0.0f};
    stats.argmax = index_of(x, n, temperature, stats.max);
    if (want_sum && stats.max > -__builtin_inff()) {
      F32 sums = S::zero();
      for (int i = 0; i < n; i += 16) {
        sums = sums + Exponential<S>::exp(scaled(x + i, n - i, temperature) - S::set1(stats.max));
      }
      S::template fold<1>(&stats.sum, &sums);
    }
    return stats;
  }

  static void group_maxima(float* maxima, const float* x, int n, float temperature) {
    for (int group = 0; group < n; group += kLogitGroup) {
      F32 max = S::set1(-__builtin_inff());
      const int end = group + kLogitGroup < n ? group + kLogitGroup : n;
      for (int i = group; i < end; i += 16) max = S::max(scaled(x + i, end - i, temperature), max);
      *maxima++ = S::reduce_max(max);
    }
  }

  // Appends the lanes named by `bits` to out.
  static int append(Candidate* out, F32 values, uint32_t bits, int32_t first_token) {
    if (bits == 0) return 0;
    float lanes[16];
    S::store(lanes, values);
    int count = 0;
    for (; bits != 0; bits &= bits - 1) {
      const int lane = __builtin_ctz(bits);
      out[count++] = {lanes[lane], first_token + lane};
    }
    return count;
  }

  static int collect(Candidate* out, const float* x, int n, float temperature, float threshold,
                     int32_t first_token) {
    int count = 0;
    for (int i = 0; i < n; i += 16) {
      const F32 v = scaled(x + i, n - i, temperature);
      const uint32_t below = S::mask_bits(S::less(v, S::set1(threshold)));
      const uint32_t valid = n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1;
      count += append(out + count, v, valid & ~below, first_token + i);
    }
    return count;
  }

  // A token's score is v - log(-log u). It reaches `best` only if 1 - u <= -log u <= exp(v - best). The test
  // takes a lower bound of 1 - u from the word's upper 24 bits, and `slack` covers float32's rounding: no
  // winner is lost.
  static int race_filter(Candidate* out, const float* x, const uint32_t* words, int n, float temperature,
                         float best, float slack, int32_t first_token) {
    int count = 0;
    const F32 bound = S::set1(best - slack), last = S::set1(16777215.0f), unit = S::set1(0x1p-24f);
    for (int i = 0; i < n; i += 16) {
      const F32 v = scaled(x + i, n - i, temperature);
      const F32 rest = (last - S::upper24(words + i)) * unit;
      const uint32_t out_of_race = S::mask_bits(S::less(Exponential<S>::exp(v - bound), rest));
      const uint32_t valid = n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1;
      count += append(out + count, v, valid & ~out_of_race, first_token + i);
    }
    return count;
  }
};

}  // namespace lockstep
