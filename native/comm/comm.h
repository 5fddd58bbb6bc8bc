// Collectives between the ranks of one engine. Each rank holds one Comm and calls it from its own thread; all
// ranks make the same calls in the same order. A call returns when its result is complete on the calling
// rank.
#pragma once
#include "base/error.h"
#include "ops/tensor.h"

namespace lockstep {

// Thrown by a collective that waited for a rank which has given up.
class PeerFailed : public Error {
 public:
  PeerFailed() : Error("ENGINE_FAILED", "Another rank of this engine has failed") {}
};

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  // sum becomes the sum over ranks, combined in the contract's binary tree (docs/numerics.md). sum [T, D]
  // float32.
  virtual void all_reduce(Matrix<float> sum) = 0;

  // On rank 0, whole = the ranks' parts side by side, in rank order. part [n, V of the rank], whole [n, V].
  virtual void gather_columns(Matrix<float> whole, Matrix<const float> part) = 0;

  // This rank cannot go on: the others' present and future calls throw PeerFailed instead of waiting.
  virtual void abandon() noexcept = 0;
};

// One rank: its partial sums, and its part of the columns, are the whole.
class SoloComm final : public Comm {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  void all_reduce(Matrix<float>) override {}
  void gather_columns(Matrix<float>, Matrix<const float>) override {}
  void abandon() noexcept override {}
};

}  // namespace lockstep
