// From rows of logits to tokens and log probabilities, on the device: what CudaOps::sample runs. sampling.cu
// holds the kernels and the rules; here are the requests' way to the device and the results' way back. Rank
// thread only.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <span>
#include <vector>

#include "ops/cuda/memory.h"
#include "ops/ops.h"
#include "ops/sampling.h"
#include "ops/tensor.h"

namespace lockstep::cuda {

class Stream;

constexpr int kLogitChunk = 4096;  // tokens per chunk of log-sum-exp, by absolute token id

// A SampleRow as the kernels read it. Lists lie in one array of 32-bit words; *_at is where.
struct DeviceRow {
  int32_t chosen, top_k, logprobs, top_logprobs;
  float temperature, top_p, min_p, repetition, presence, frequency;
  uint32_t seed_low, seed_high, sample_index, position;
  int32_t history_at,
      history;            // entries of 3 words: token, prompt count, output count; only where a penalty is on
  int32_t bias_at, bias;  // entries of 2 words: token, bits of the bias
  int32_t banned_at, banned, ids_at, ids;
  int32_t originals_at;  // in SamplingCall::originals
  int32_t lists_at;      // in SamplingCall::list_*: top_logprobs entries, then ids
  int32_t candidates;    // row of SamplingCall::keys; -1 where the row needs no order
  int32_t kept_at;       // in SamplingCall::kept_ids; -1 where they are not asked for
};

struct DeviceResult {
  int32_t token, finite, all_banned, top_count, kept_count;
  double logprob, temperature_logprob, sampling_logprob;
};

struct Original {  // a logit before a penalty, bias or ban
  int32_t token;
  float value;
};

struct ChunkStats {
  float max;
  int32_t argmax, finite;
  float sum;  // of exp(x - max)
};

struct RowState {  // one a row, between kernels
  double raw_log_sum_exp, log_sum_exp, filtered_log_sum_exp, sum, race_bound;
  float max, temperature;
  int32_t argmax, finite, greedy, filtered, kept, empty;
};

struct Racer {
  double score;
  int32_t token;
};

struct SamplingCall {
  float* logits;  // [rows, V], overwritten
  int64_t stride;
  int32_t vocabulary, rows, chunks;
  int32_t key_stride;        // a power of two, at least V
  const DeviceRow* options;  // [rows]
  const int32_t* words;
  Original* originals;
  RowState* state;        // [rows]
  ChunkStats* stats;      // [rows, chunks]
  Racer* racers;          // [rows, chunks]
  uint64_t* keys;         // [rows with an order, key_stride]
  DeviceResult* results;  // [rows]
  int32_t* list_tokens;
  double* list_logprobs;
  // What filters left, unordered: pinned host memory, since there is room for whole vocabularies, and mostly
  // little to send.
  int32_t* kept_ids;
  int32_t* sampled;  // [rows]: the tokens again, for the next step's embedding; -1 where there is none
};
struct SamplingNeeds {  // of some row
  bool lists, order;    // log probabilities of other tokens; tokens in their order
  bool adjusted;        // a penalty, bias or ban
  bool drawn;           // a temperature above 0
  bool kept;            // a list of kept tokens
};
// Launches everything; results are there once the stream has got so far.
void sample(const SamplingCall& call, const SamplingNeeds& needs, Stream& stream);

// What a step has been asked to sample, in pinned memory: options on their way to the device, results on their
// way back.
class OpenSamples {
 public:
  bool empty() const { return calls_.empty(); }
  // Hands out all results. The device must have sent them.
  void read();

 private:
  friend class Sampler;
  struct Call {
    std::span<SampleResult> results;
    std::byte *input, *output;
    size_t lists;
    int32_t* kept_ids;
  };
  Pieces input_, output_, kept_;
  std::vector<Call> calls_;
};

class Sampler {
 public:
  void reserve(OpenSamples& samples, const StepLimits& limits);
  void release();  // the device's memory
  size_t device_bytes() const;
  // `sampled`: see SamplingCall. Waits only where the memory of `samples` is full.
  void sample(OpenSamples& samples, std::span<SampleResult> results, Matrix<float> logits,
              std::span<const SampleRow> rows, int32_t* sampled, Stream& stream);

 private:
  std::vector<DeviceRow> rows_;
  std::vector<int32_t> words_;
  Growing input_device_{false}, work_{false}, keys_{false}, output_device_{false};
};

}  // namespace lockstep::cuda
