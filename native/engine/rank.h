// The tensor-parallel ranks of an engine and the workers that drive them. A worker is a device with its memory,
// its thread and its place in the collectives. On the CPU each rank has a worker; ranks that share a GPU share
// one, so that their kernels stand in one stream and none can wait for another that is not resident. Worker 0
// runs on the caller's thread (the engine thread), so one worker needs no other.
#pragma once
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "cache/kv_cache.h"
#include "comm/comm.h"
#include "model/model.h"
#include "ops/ops.h"

namespace lockstep {

struct EngineSpec;

// Members are destroyed in reverse order: the model and the caches before the ops they allocated from.
struct Worker {
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Comm> comm;
  std::vector<KvCache> caches;  // of each of its ranks; none: asleep
  std::unique_ptr<Model> model;
};

class RankGroup {
 public:
  // Checks the spec, which stays the caller's, and loads the weights. `cancel`: loading and run() throw Error("ENGINE_CLOSED") once it is
  // set. Throws Error("INVALID_ARGUMENT") for a spec that TypeScript should have refused, and
  // Error("OUT_OF_MEMORY") with the numbers where weights or cache do not fit.
  RankGroup(const EngineSpec& spec, const std::atomic<bool>& cancel);
  ~RankGroup();

  // Whether a step may be launched before the one before it is collected. Not with several workers: tokens are
  // sampled on the first one only, and the others' embedding would need them.
  bool runs_ahead() const { return workers_.size() == 1 && workers_.front().ops->runs_ahead(); }
  // On every worker at once; returns when all have asked their devices. Throws what a worker threw.
  void forward(const Step& step);
  // Worker 0's: [rows, V], see Model::logits.
  Matrix<float> logits(std::span<const int32_t> rows);
  // The head over the head rows of the step that forward() was given last, in groups, and the sampling verb
  // over the logits. results [head_rows] are there after collect() of that step.
  void sample(std::span<SampleResult> results, const Step& step);
  // Of the oldest step that is not collected.
  void collect();
  // y [rows, D], on the host: rows of the hidden states (Model::hidden) of the step that was sampled last. Waits
  // for it.
  void read_hidden(Matrix<BFloat16> y, std::span<const int32_t> rows);

  // Worker 0's, see Ops::profile.
  std::vector<KernelProfile> profile();

  // What follows, up to read(), between runs only (rank_memory.cpp).

  // Throws Error("INVALID_CHECKPOINT") where these loaded weights cannot take the place of the present ones.
  void check_weights(const TensorStore& store) const;
  // After check_weights(). Where it throws, the weights are neither the old ones nor the new.
  void replace_weights(TensorStore store);
  // Gives KV caches and workspaces back, and the weights unless they are kept. Those that came from files are
  // read from there again; others stay in host memory, or are copied to it: then this throws
  // Error("OUT_OF_MEMORY") where there is none, and nothing has changed. May be called asleep, to keep less.
  void sleep(bool keep_weights);
  // All of it back. Where it throws, say because a file has changed, this still sleeps.
  void wake();
  // A tensor as it is computed with, whole and row-major. Throws Error("ENGINE_ASLEEP") where it is not here.
  HostMemory read(const std::string& name) const;

  const TensorStore& store() const { return store_; }
  Ops& ops() { return *workers_.front().ops; }
  const Model& model() const { return *workers_.front().model; }
  int32_t num_blocks() const { return num_blocks_; }  // of the KV cache, on every rank
  // Of the devices' memory, for copied weights, KV cache, workspaces and collectives. Between runs.
  uint64_t device_bytes() const;

 private:
  using Task = std::function<void(Worker&)>;
  void load();
  void take_workspaces(Worker& worker);
  void make_caches();
  void fetch(const TensorStore& host, const std::string& name) const;
  void give_back(bool keep_weights);
  void run(const Task& task);
  void run_on(size_t worker) noexcept;
  void worker_loop(size_t worker);
  void stop() noexcept;

  const EngineSpec& spec_;
  const std::atomic<bool>& cancel_;
  TensorStore store_;   // empty where the weights lie on devices only, or nowhere
  TensorTable source_;  // where the weights came from; no files: from memory
  bool has_head_ = false;
  bool loaded_ = false;                    // once
  std::unique_ptr<CommGroup> comm_group_;  // null with one worker
  std::vector<Worker> workers_;
  int32_t num_blocks_ = 0;
  std::vector<std::exception_ptr> failures_;  // [workers], of the last run
  std::vector<std::thread> threads_;          // of workers 1, 2, ...
  const Task* task_ = nullptr;                // of the present run; null: stop
  std::atomic<uint32_t> run_number_ = 0;      // a new run begins when it changes
  std::atomic<uint32_t> busy_ = 0;            // threads that have not finished it
};

}  // namespace lockstep
