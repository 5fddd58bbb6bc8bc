// Passes over one row of logits for sampling: log-sum-exp and argmax, collection above a threshold, the first
// few of the order. Chunk by chunk through kernels/softmax.h, chunks merged in ascending order.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>

#include "base/math.h"
#include "ops/cpu/sampler.h"

namespace lockstep {

// Maximum, argmax and log-sum-exp: per chunk in the kernel, chunks merged in ascending order.
Sampler::Totals Sampler::reduce(const Row& row, float temperature, bool want_sum) {
  std::vector<LogitStats>& stats = row.scratch.stats;
  for_chunks(row, [&](size_t chunk, int32_t first, int count, Scratch&) {
    stats[chunk] = kernels_.logit_stats(row.logits + first, count, temperature, want_sum);
    stats[chunk].argmax += first;
  });
  const size_t chunks = static_cast<size_t>(chunks_of(row.vocabulary));
  Totals totals{stats[0].max, stats[0].argmax, stats[0].finite, 0.0, 0.0};
  for (size_t chunk = 1; chunk < chunks; ++chunk) {
    totals.finite = totals.finite && stats[chunk].finite;
    if (stats[chunk].max > totals.max) {
      totals.max = stats[chunk].max;
      totals.argmax = stats[chunk].argmax;
    }
  }
  if (want_sum) {
    const double max = totals.max;
    for (size_t chunk = 0; chunk < chunks; ++chunk) {
      if (stats[chunk].max == -INFINITY) continue;  // a chunk of banned tokens
      totals.sum +=
          static_cast<double>(stats[chunk].sum) * det_exp(static_cast<double>(stats[chunk].max) - max);
    }
    totals.log_sum_exp = max + det_log(totals.sum);
  }
  return totals;
}

// Candidates = the tokens with logit / temperature >= threshold, ascending ids; -inf never is one.
int Sampler::collect(const Row& row, float temperature, float threshold) {
  threshold = std::max(threshold, -FLT_MAX);
  Candidate* const candidates = row.scratch.candidates.get();
  for_chunks(row, [&](size_t chunk, int32_t first, int count, Scratch&) {
    row.scratch.counts[chunk] =
        kernels_.collect(candidates + first, row.logits + first, count, temperature, threshold, first);
  });
  int kept = 0;
  for (int32_t chunk = 0; chunk < chunks_of(row.vocabulary); ++chunk) {
    const Candidate* const from = candidates + chunk * kLogitChunk;
    const int count = row.scratch.counts[static_cast<size_t>(chunk)];
    std::copy(from, from + count, candidates + kept);
    kept += count;
  }
  return kept;
}

// Candidates = the `count` first tokens in the order `before`, sorted (fewer where fewer are above -inf). The
// count-th largest maximum of groups of 64 tokens is a lower bound for the count-th largest logit, and leaves
// little to sort.
int Sampler::select(const Row& row, float temperature, int count) {
  std::vector<float>& maxima = row.scratch.maxima;
  const int groups = (row.vocabulary + kLogitGroup - 1) / kLogitGroup;
  float threshold = -INFINITY;
  if (count < groups) {
    for_chunks(row, [&](size_t chunk, int32_t first, int tokens, Scratch&) {
      kernels_.group_maxima(&maxima[chunk * (kLogitChunk / kLogitGroup)], row.logits + first, tokens,
                            temperature);
    });
    std::nth_element(maxima.begin(), maxima.begin() + count - 1, maxima.begin() + groups, std::greater<>());
    threshold = maxima[static_cast<size_t>(count - 1)];
  }
  Candidate* const candidates = row.scratch.candidates.get();
  int kept = collect(row, temperature, threshold);
  if (kept > count) {
    std::nth_element(candidates, candidates + count, candidates + kept, before<Candidate>);
    kept = count;
  }
  std::sort(candidates, candidates + kept, before<Candidate>);
  return kept;
}

}  // namespace lockstep
