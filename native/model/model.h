// Qwen3's forward pass, written once over ops and comm, for the ranks of one device. Allocates its activations
// when told to and nothing in a step. Runs on its worker's thread.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "cache/kv_cache.h"
#include "checkpoint/weights.h"
#include "comm/comm.h"
#include "model/finite_check.h"
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
  // weights: of each rank that this device holds, `ranks` in all on all devices. max_tokens: the largest T.
  // logits() is worker 0's: only there `whole_logits` is set. `cancel` is read between layers, and between matrices
  // while they are loaded; when it is set, these throw Error("ENGINE_CLOSED"). `debug`: non_finite() tells.
  Model(const ModelConfig& config, std::vector<Weights> weights, int ranks, Ops& ops, Comm& comm,
        int max_tokens, bool whole_logits, const std::atomic<bool>& cancel, bool debug);

  // Memory of the activations: between these two, in this order, steps are computed.
  void allocate();
  void release() { memory_.reset(); }

  // Others of the same shapes, on the host, in the place of each rank's; K and V of the old ones must not be
  // used any more. Where it throws, the weights are neither the old ones nor the new.
  void replace_weights(std::vector<Weights> weights);

  // Computes the step and writes its K and V to the caches, one a rank. Afterwards hidden() and logits() speak
  // of this step.
  void forward(const Step& step, std::span<const KvCache> caches);

  // Logits of step rows `rows` (at most kMaxLogitRows, a part of the step's head_rows), unrounded: [rows, V],
  // on worker 0 (empty on others). Overwritten by the next call.
  Matrix<float> logits(std::span<const int32_t> rows);

  // The final norm's output, the input of the head: [max_tokens, D]; the first T rows are this step's.
  Matrix<const BFloat16> hidden() const { return x_; }

  // [T]: where NaN or infinity came into the rows of this step. Empty unless debugging.
  std::span<const NonFinite> non_finite() const {
    return finite_check_ ? finite_check_->rows() : std::span<const NonFinite>();
  }

  const ModelConfig& config() const { return config_; }
  int ranks() const { return static_cast<int>(shards_.size()); }  // of this device
  const Weights& weights(int rank) const { return shards_[rank].weights; }
  bool has_head() const { return shards_.front().weights.head.data != nullptr; }

 private:
  // What a rank has to itself. Hq, Hkv and F are the rank's.
  struct Shard {
    Weights weights;
    Matrix<BFloat16> q, attention;  // [T, Hq * d]
    Matrix<BFloat16> kv;            // [T, 2 * Hkv * d]
    Matrix<BFloat16> mlp;           // [T, F]
    Matrix<float> sum;              // [T, D], its parts of K only
  };

  void attend(const Shard& shard, size_t layer, const KvCache& cache, const Step& step);
  void feed_forward(const Shard& shard, size_t layer, int64_t T);
  Matrix<float> all_reduce(int64_t T);
  void look(Matrix<const BFloat16> x, NonFinite part);

  ModelConfig config_;
  std::vector<Shard> shards_;  // [ranks of this device]; what they have in common is the first one's
  Ops& ops_;
  Comm& comm_;
  const std::atomic<bool>& cancel_;
  std::unique_ptr<FiniteCheck> finite_check_;  // null unless debugging
  const int max_tokens_;
  const bool whole_logits_;
  const int parts_;  // parts of K that a rank sums in a row-parallel layer: R_max / R

  std::unique_ptr<Buffer> memory_;
  Matrix<BFloat16> residual_, x_;  // [T, D]
  Matrix<float> rope_;             // [T, d]
  Matrix<BFloat16> head_x_;        // [kMaxLogitRows, D]
  Matrix<float> logits_part_;      // [kMaxLogitRows, V of this device]
  Matrix<float> logits_;           // [kMaxLogitRows, V], on worker 0 only
};

}  // namespace lockstep
