// Collectives between the workers of one engine, each of which drives one device. A worker holds one Comm and
// calls it from its own thread; all workers make the same calls in the same order. A call is complete, or
// ordered on the device's stream, when it returns.
#pragma once
#include <memory>

#include "base/error.h"
#include "ops/ops.h"
#include "ops/tensor.h"

namespace lockstep {

// Thrown by a collective that waited for a worker which has given up.
class PeerFailed : public Error {
 public:
  PeerFailed() : Error("ENGINE_FAILED", "Another rank of this engine has failed") {}
};

class Comm {
 public:
  virtual ~Comm() = default;

  // sum becomes the sum over workers, combined in the contract's binary tree (docs/numerics.md). sum [T, D]
  // float32.
  virtual void all_reduce(Matrix<float> sum) = 0;

  // On worker 0, whole = the workers' parts side by side, in their order. part [n, V of the worker], whole
  // [n, V].
  virtual void gather_columns(Matrix<float> whole, Matrix<const float> part) = 0;

  // This worker cannot go on: the others' present and future calls throw PeerFailed instead of waiting.
  virtual void abandon() noexcept = 0;
};

// One worker: its sums, and its part of the columns, are the whole.
class SoloComm final : public Comm {
 public:
  void all_reduce(Matrix<float>) override {}
  void gather_columns(Matrix<float>, Matrix<const float>) override {}
  void abandon() noexcept override {}
};

// What the workers of an engine share. Made once, before their threads start; outlives all its Comms.
class CommGroup {
 public:
  virtual ~CommGroup() = default;
  // The Comm of one worker, which computes with `ops`. On that worker's thread or before it starts.
  virtual std::unique_ptr<Comm> comm(int worker, Ops& ops) = 0;
  // Of the devices' memory, that it holds itself.
  virtual size_t device_bytes() const noexcept { return 0; }
};

// The largest arguments of a group's calls.
struct CommLimits {
  int64_t sum_elements = 0;   // T * D of all_reduce
  int64_t part_elements = 0;  // of gather_columns' part
};

}  // namespace lockstep
