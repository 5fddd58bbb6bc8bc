// Where NaN or infinity first shows in the rows of a step: what `debug` at load turns on. The rank's thread; copies
// every row to the host again and again, so a step is slow, and changes none. Every worker of an engine looks, or none:
// who looks waits for its device, whose kernels may wait for another's.
#pragma once
#include <span>
#include <vector>

#include "ops/ops.h"

namespace lockstep {

enum class ModelPart : uint8_t { kNone, kEmbedding, kAttention, kMlp, kNorm };

// The first part of the model whose output in a row is not finite; kNone where all are.
struct NonFinite {
  ModelPart part = ModelPart::kNone;
  int32_t layer = -1;  // of kAttention and kMlp
};

class FiniteCheck {
 public:
  explicit FiniteCheck(Ops& ops) : ops_(ops) {}

  // A step of T rows begins.
  void begin(int64_t T) { rows_.assign(static_cast<size_t>(T), {}); }
  // x [T, D], without gaps between rows: what `part` has made of them.
  void look(Matrix<const BFloat16> x, NonFinite part);
  std::span<const NonFinite> rows() const { return rows_; }  // [T]

 private:
  Ops& ops_;
  std::vector<BFloat16> copy_;
  std::vector<NonFinite> rows_;
};

}  // namespace lockstep
