// From a row of logits to a token and its log probabilities: what
// CpuOps::sample runs. sampling.cpp holds the rules.
//
// Rows go to the threads where there are enough of them, else the chunks of one row do. Neither changes a
// bit: sums run over fixed chunks merged in ascending order, and the draw is a maximum with ties to the lower
// id, which has no order.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "ops/cpu/kernels/table.h"
#include "ops/cpu/thread_pool.h"
#include "ops/sampling.h"
#include "ops/tensor.h"

namespace lockstep {

constexpr int32_t chunks_of(int32_t vocabulary) { return (vocabulary + kLogitChunk - 1) / kLogitChunk; }

// The total order of filters, lists and the draw: larger first, ties to the lower id.
template <class Item>
bool before(const Item& a, const Item& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

class Sampler {
 public:
  Sampler(const KernelTable& kernels, ThreadPool& pool);

  void sample(std::span<SampleResult> results, Matrix<float> logits, std::span<const SampleRow> rows);
  void distribution(std::span<double> probabilities, std::span<float> logits, const SampleRow& row);

 private:
  struct Score {
    double value;
    int32_t token;
  };

  // One worker's memory, sized for V before any task runs: tasks must not allocate, for they must not throw.
  struct Scratch {
    std::vector<LogitStats> stats;            // [chunks]
    std::vector<int> counts;                  // [chunks], of collect
    std::vector<Score> races;                 // [chunks], the best of each chunk
    std::vector<float> maxima;                // [groups]
    std::unique_ptr<Candidate[]> candidates;  // [V]
    std::unique_ptr<Candidate[]> racers;      // [kRacePiece]
    std::unique_ptr<uint32_t[]> words;        // [kLogitChunk + 16]
    std::vector<Candidate> originals;         // raw logits that adjust() changed
  };

  struct Row {
    float* logits;  // [V]
    int32_t vocabulary;
    const SampleRow& options;
    Scratch& scratch;
    int worker;
    bool spread;  // cut this row's chunks over the threads
  };

  struct Totals {
    float max;
    int32_t argmax;  // lowest id on ties
    bool finite;
    double sum;  // of exp(x - max); 0 unless asked for
    double log_sum_exp;
  };

  // What a row is sampled from, after penalties, bias, temperature and filters.
  struct Distribution {
    bool greedy;        // all of it on `argmax`
    bool filtered;      // only the first `kept` candidates, sorted; else every token
    float temperature;  // divided by; 1 where greedy
    Totals totals;      // before the filters
    int kept;
    double log_sum_exp;  // over what is left
  };

  void prepare(int32_t vocabulary, std::span<const SampleRow> rows);
  // function(chunk, first token, tokens, scratch of the worker that runs it)
  template <class Function>
  void for_chunks(const Row& row, const Function& function) {
    const int32_t chunks = chunks_of(row.vocabulary);
    const auto one = [&](int64_t chunk, int worker) {
      const int32_t first = static_cast<int32_t>(chunk) * kLogitChunk;
      function(static_cast<size_t>(chunk), first, std::min(kLogitChunk, row.vocabulary - first),
               scratch_[static_cast<size_t>(worker)]);
    };
    if (row.spread) {
      pool_.for_each(chunks, {.flops = 20.0 * row.vocabulary}, one);
    } else {
      for (int32_t chunk = 0; chunk < chunks; ++chunk) one(chunk, row.worker);
    }
  }

  void sample_row(SampleResult& result, const Row& row);
  void list_logprobs(SampleResult& result, const Row& row, double log_sum_exp);
  void list_kept(std::vector<int32_t>& ids, const Distribution& d, const Row& row);
  void adjust(const Row& row);
  float raw_logit(const Row& row, int32_t token) const;
  Totals reduce(const Row& row, float temperature, bool want_sum);
  bool distribution_of(Distribution& d, const Row& row, bool want_sum);
  void filter(Distribution& d, const Row& row);
  int select(const Row& row, float temperature, int count);
  int collect(const Row& row, float temperature, float threshold);
  int nucleus(const Row& row, float temperature, const Totals& totals);
  int32_t draw(const Distribution& d, const Row& row);
  Score race(const Row& row, float temperature, int32_t first, int count, Score best, Scratch& scratch);

  const KernelTable& kernels_;
  ThreadPool& pool_;
  int32_t vocabulary_ = 0;  // what the scratch is sized for
  std::vector<Scratch> scratch_;
};

}  // namespace lockstep
