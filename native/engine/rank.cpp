#include "engine/rank.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"

namespace lockstep {
namespace {

// TypeScript has checked all this; sizes of memory rest on it, so it is not taken on trust.
void check_spec(const EngineSpec& spec) {
  const ModelConfig& config = spec.config;
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw Error("INVALID_ARGUMENT", std::string("The engine's specification is wrong: ") + what);
  };
  for (const int32_t size : {config.hidden_size, config.intermediate_size, config.num_layers,
                             config.num_heads, config.num_kv_heads, config.head_dim, config.vocab_size})
    require(size >= 1, "a size of the model is not positive");
  require(config.num_heads % config.num_kv_heads == 0, "numKvHeads does not divide numHeads");
  require(config.head_dim % 2 == 0, "headDim is odd");
  require(std::ssize(config.rope_inv_freq) == config.head_dim / 2, "ropeInvFreq is not [headDim / 2]");
  require(config.rms_norm_eps >= 0 && std::isfinite(config.rms_norm_eps), "rmsNormEps");
  require(std::isfinite(config.rope_scale), "ropeScale");
  require(spec.threads >= 1, "threads is not positive");
  require(spec.num_blocks >= 1, "numBlocks is not positive");
  require(spec.max_batch_tokens >= 1, "maxBatchTokens is not positive");
  require(spec.max_sequences >= 1, "maxSequences is not positive");
  if (spec.ranks < 1 || config.max_ranks() % spec.ranks != 0)
    throw Error("INVALID_ARGUMENT", "Expected a divisor of " + std::to_string(config.max_ranks()) +
                                        " for tensorParallel but received " + std::to_string(spec.ranks));
}

Rank make_rank(const EngineSpec& spec, const TensorStore& store, HostGroup& group, int rank,
               const std::atomic<bool>& cancel) {
  const ModelConfig& config = spec.config;
  const int threads = std::max(1, spec.threads / spec.ranks + (rank < spec.threads % spec.ranks));
  Rank result;
  result.ops = spec.make_ops(spec.compute_path, threads);
  result.comm = spec.ranks == 1 ? std::make_unique<SoloComm>() : group.comm(rank);
  result.cache = std::make_unique<KvCache>(*result.ops, config.num_layers, config.num_kv_heads / spec.ranks,
                                           config.head_dim, spec.num_blocks);
  result.model = std::make_unique<Model>(config, shard_weights(config, store, rank, spec.ranks), *result.ops,
                                         *result.comm, spec.max_batch_tokens, cancel);
  return result;
}

}  // namespace

RankGroup::RankGroup(const EngineSpec& spec, const std::atomic<bool>& cancel)
    : cancel_(cancel), store_(spec.tensors) {
  check_spec(spec);
  shard_weights(spec.config, store_, 0, 1);  // names and shapes, before anything is read or reserved
  store_.load(spec.copy_weights, cancel);
  failures_.resize(static_cast<size_t>(spec.ranks));
  for (int rank = 0; rank < spec.ranks; ++rank)
    ranks_.push_back(make_rank(spec, store_, group_, rank, cancel));
  try {
    for (size_t rank = 1; rank < ranks_.size(); ++rank)
      workers_.emplace_back([this, rank] { worker_loop(rank); });
  } catch (...) {
    stop();
    throw;
  }
}

RankGroup::~RankGroup() { stop(); }

void RankGroup::stop() noexcept {
  task_ = nullptr;
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void RankGroup::forward(const Step& step) {
  run([&step](Rank& rank) { rank.model->forward(step, *rank.cache); });
}

Matrix<float> RankGroup::logits(std::span<const int32_t> rows) {
  Matrix<float> result;
  run([&](Rank& rank) {
    const Matrix<float> logits = rank.model->logits(rows);
    if (rank.comm->rank() == 0) result = logits;
  });
  return result;
}

void RankGroup::run(const Task& task) {
  if (cancel_.load(std::memory_order_relaxed))
    throw Error("ENGINE_CLOSED", "the engine was closed during a step");
  if (ranks_.size() == 1) return task(ranks_.front());
  task_ = &task;
  busy_ = static_cast<uint32_t>(workers_.size());
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
  run_on(0);
  for (uint32_t busy = busy_.load(std::memory_order_acquire); busy != 0;
       busy = busy_.load(std::memory_order_acquire))
    busy_.wait(busy);
  for (const std::exception_ptr& failure : failures_)
    if (failure != nullptr) std::rethrow_exception(failure);
}

void RankGroup::run_on(size_t rank) noexcept {
  failures_[rank] = nullptr;
  try {
    (*task_)(ranks_[rank]);
  } catch (const PeerFailed&) {
    // The rank that failed says why.
  } catch (...) {
    failures_[rank] = std::current_exception();
    ranks_[rank].comm->abandon();
  }
}

void RankGroup::worker_loop(size_t rank) {
  for (uint32_t seen = 0;;) {
    run_number_.wait(seen, std::memory_order_acquire);
    seen = run_number_.load(std::memory_order_acquire);
    if (task_ == nullptr) return;
    run_on(rank);
    busy_.fetch_sub(1, std::memory_order_release);
    busy_.notify_one();
  }
}

}  // namespace lockstep
