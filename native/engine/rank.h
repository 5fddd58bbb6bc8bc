// The tensor-parallel ranks of an engine: each with its device, its share of weights and KV cache, its place
// in the collectives, and its thread. Rank 0 runs on the caller's thread (the engine thread), so one rank
// needs no other.
#pragma once
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "cache/kv_cache.h"
#include "comm/host_comm.h"
#include "model/model.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/ops.h"

namespace lockstep {

struct EngineSpec;

// Members are destroyed in reverse order: the model and the cache before the ops they allocated from.
struct Rank {
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Comm> comm;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<Model> model;
};

class RankGroup {
 public:
  // Checks the spec, loads the weights. `cancel`: loading and run() throw Error("ENGINE_CLOSED") once it is
  // set. Throws Error("INVALID_ARGUMENT") for a spec that TypeScript should have refused.
  RankGroup(const EngineSpec& spec, const std::atomic<bool>& cancel);
  ~RankGroup();

  // On every rank at once; returns when all are done. Throws what a rank threw.
  void forward(const Step& step);
  // Rank 0's: [rows, V], see Model::logits.
  Matrix<float> logits(std::span<const int32_t> rows);

  const TensorStore& store() const { return store_; }
  Ops& ops() { return *ranks_.front().ops; }
  const Model& model() const { return *ranks_.front().model; }

 private:
  using Task = std::function<void(Rank&)>;
  void run(const Task& task);
  void run_on(size_t rank) noexcept;
  void worker_loop(size_t rank);
  void stop() noexcept;

  const std::atomic<bool>& cancel_;
  TensorStore store_;
  HostGroup group_;
  std::vector<Rank> ranks_;
  std::vector<std::exception_ptr> failures_;  // [ranks], of the last run
  std::vector<std::thread> workers_;          // ranks 1, 2, ...
  const Task* task_ = nullptr;                // of the present run; null: stop
  std::atomic<uint32_t> run_number_ = 0;      // a new run begins when it changes
  std::atomic<uint32_t> busy_ = 0;            // workers that have not finished it
};

}  // namespace lockstep
