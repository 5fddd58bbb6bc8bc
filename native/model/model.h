// Qwen3's forward pass, written once over ops and comm, for one rank. Allocates its activations when made and
// nothing in a step. Runs on the rank's thread.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "cache/kv_cache.h"
#include "checkpoint/weights.h"
#include "comm/comm.h"
#include "ops/ops.h"

namespace lockstep {

// What a step computes: the tokens of all its sequences, one after the other. Filled by engine/batch_builder.
struct Step {
  std::vector<int32_t> tokens;           // [T]
  std::vector<int32_t> positions;        // [T], absolute
  std::vector<SequenceSlice> sequences;  // [S]
  std::vector<int32_t> head_rows;        // rows of T whose logits are wanted
  std::vector<SampleRow> samples;        // [head_rows]: what to do with each
};

constexpr int kMaxLogitRows = 64;  // rows of logits at once: 64 x 151,936 float32 are 39 MB

class Model {
 public:
  // max_tokens: the largest T. `cancel` is read between layers; when it is set, forward() throws
  // Error("ENGINE_CLOSED").
  Model(const ModelConfig& config, Weights weights, Ops& ops, Comm& comm, int max_tokens,
        const std::atomic<bool>& cancel);

  // Computes the step and writes its K and V. Afterwards hidden() and logits() speak of this step.
  void forward(const Step& step, const KvCache& cache);

  // Logits of step rows `rows` (at most kMaxLogitRows, a part of the step's head_rows), unrounded: [rows, V],
  // on rank 0 (empty on others). Overwritten by the next call.
  Matrix<float> logits(std::span<const int32_t> rows);

  // The final norm's output, the input of the head: [max_tokens, D]; the first T rows are this step's.
  Matrix<const BFloat16> hidden() const { return x_; }

  const ModelConfig& config() const { return config_; }
  bool has_head() const { return weights_.head.data != nullptr; }

 private:
  ModelConfig config_;
  Weights weights_;
  Ops& ops_;
  Comm& comm_;
  const std::atomic<bool>& cancel_;
  const int parts_;  // parts of K that this rank sums in a row-parallel layer: R_max / R

  std::unique_ptr<Buffer> memory_;
  Matrix<BFloat16> residual_, x_;   // [T, D]
  Matrix<BFloat16> q_, attention_;  // [T, Hq * d]
  Matrix<BFloat16> kv_;             // [T, 2 * Hkv * d]
  Matrix<BFloat16> mlp_;            // [T, F]
  Matrix<float> sum_;               // [T, D]
  Matrix<float> rope_;              // [T, d]
  Matrix<BFloat16> head_x_;         // [kMaxLogitRows, D]
  Matrix<float> logits_part_;       // [kMaxLogitRows, V of this rank]
  Matrix<float> logits_;            // [kMaxLogitRows, V], on rank 0 only
};

}  // namespace lockstep
