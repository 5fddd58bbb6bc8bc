#include "engine/rank.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"

namespace lockstep {
namespace {

// Of a cache that is sized by memoryFraction: 16.8 million tokens. A tiny model's would otherwise have so many
// that the pool's own lists take seconds and gigabytes.
constexpr int64_t kMostBlocks = int64_t{1} << 20;

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
  require(spec.num_blocks >= 1 || !spec.devices.empty(), "numBlocks is not positive");
  require(spec.devices.empty() || std::ssize(spec.devices) == spec.ranks, "devices is not [ranks]");
  require(spec.max_context >= 1, "maxContext is not positive");
  require(spec.max_batch_tokens >= 1, "maxBatchTokens is not positive");
  require(spec.max_sequences >= 1, "maxSequences is not positive");
  if (spec.ranks < 1 || config.max_ranks() % spec.ranks != 0)
    throw Error("INVALID_ARGUMENT", "Expected a divisor of " + std::to_string(config.max_ranks()) +
                                        " for tensorParallel but received " + std::to_string(spec.ranks));
}

// Which ranks each worker drives.
std::vector<std::vector<int>> ranks_of_workers(const EngineSpec& spec) {
  std::vector<std::vector<int>> workers;
  for (int rank = 0; rank < spec.ranks; ++rank) {
    const bool shared = rank > 0 && !spec.devices.empty() && spec.devices[rank] == spec.devices[rank - 1];
    if (!shared) workers.emplace_back();
    workers.back().push_back(rank);
  }
  return workers;
}

// As Ops::place() keeps them: the embedding once a device, and a tied head that is all of it not again.
size_t bytes_of(const Weights& weights, bool with_common) {
  const bool head_is_embedding =
      weights.head.data == weights.embed.data && weights.head.rows == weights.embed.rows;
  size_t elements = head_is_embedding ? 0 : static_cast<size_t>(weights.head.rows * weights.head.cols);
  if (with_common) elements += static_cast<size_t>(weights.embed.rows * weights.embed.cols);
  for (const LayerWeights& layer : weights.layers)
    for (const auto& w : {layer.wq, layer.wk, layer.wv, layer.wo, layer.w_gate, layer.w_up, layer.w_down})
      elements += static_cast<size_t>(w.rows * w.cols);
  return elements * sizeof(BFloat16);
}

// What a device may use of its memory, for everything. Made before anything is reserved there.
class Budget {
 public:
  Budget(const EngineSpec& spec, Ops& ops)
      : ops_(ops), fraction_(spec.memory_fraction), free_before_(ops.free_bytes()) {}

  // Throws where there is no room for `bytes` more.
  void check(const char* what, size_t bytes, const char* remedy) const {
    if (bytes <= left()) return;
    throw Error("OUT_OF_MEMORY", std::string(what) + std::to_string(bytes) + " bytes of " +
                                     ops_.compute_path() + ", but memoryFraction " +
                                     std::to_string(fraction_) + " of the " + std::to_string(free_before_) +
                                     " bytes that were free is " + std::to_string(allowed()) + ", of which " +
                                     std::to_string(used()) +
                                     " are in use: raise memoryFraction, free memory there, or " + remedy);
  }

  // Throws where what kvCacheTokens asks for is not there.
  void check_cache(int64_t blocks, size_t block_bytes) const {
    const size_t bytes = static_cast<size_t>(blocks) * block_bytes, free = ops_.free_bytes();
    if (bytes <= free) return;
    throw Error("OUT_OF_MEMORY", "A KV cache of " + std::to_string(blocks * kBlockTokens) + " tokens takes " +
                                     std::to_string(bytes) + " bytes of " + ops_.compute_path() + ", but " +
                                     std::to_string(free) +
                                     " are free beside weights and workspaces: lower "
                                     "kvCacheTokens, or leave its size to memoryFraction");
  }

  // Blocks of the KV cache that what is left holds.
  int64_t blocks(size_t block_bytes) const {
    check("A block of the KV cache takes ", block_bytes, "lower maxBatchTokens, maxSequences or maxContext");
    return static_cast<int64_t>(left() / block_bytes);
  }

 private:
  size_t used() const { return free_before_ - std::min(free_before_, ops_.free_bytes()); }
  size_t allowed() const { return static_cast<size_t>(fraction_ * static_cast<double>(free_before_)); }
  size_t left() const { return allowed() - std::min(allowed(), used()); }

  Ops& ops_;
  const double fraction_;
  const size_t free_before_;
};

// What `make` returns. Memory that cannot be had meanwhile: the error says what for, and what to change.
template <class Make>
auto reserve(const std::string& what, const char* remedy, const Make& make) {
  try {
    return make();
  } catch (const Error& error) {
    if (std::string_view(error.code()) != "OUT_OF_MEMORY") throw;
    throw Error("OUT_OF_MEMORY", what + ": " + error.what() + ": free memory there, or " + remedy);
  }
}

// Bytes of a worker's weights on its device.
size_t bytes_of(std::span<const Weights> ranks) {
  size_t bytes = 0;
  for (const Weights& weights : ranks) bytes += bytes_of(weights, &weights == &ranks.front());
  return bytes;
}

}  // namespace

RankGroup::RankGroup(const EngineSpec& spec, const std::atomic<bool>& cancel)
    : spec_(spec),
      cancel_(cancel),
      store_(spec.tensors),
      source_(store_.table()),
      num_blocks_(spec.num_blocks) {
  check_spec(spec);
  // Names and shapes, before anything is read or reserved.
  has_head_ = shard_weights(spec.config, store_, 0, 1).head.data != nullptr;
  store_.load(spec.copy_weights, cancel);
  load();
  failures_.resize(workers_.size());
  try {
    for (size_t worker = 1; worker < workers_.size(); ++worker)
      threads_.emplace_back([this, worker] { worker_loop(worker); });
  } catch (...) {
    stop();
    throw;
  }
}

void RankGroup::load() {
  const EngineSpec& spec = spec_;
  const ModelConfig& config = spec.config;
  const bool on_device = !spec.devices.empty();
  const auto placement = ranks_of_workers(spec);
  const int count = static_cast<int>(placement.size());
  std::vector<Budget> budgets;
  for (int worker = 0; worker < count; ++worker) {
    const int threads = std::max(1, spec.threads / count + (worker < spec.threads % count));
    const std::string device =
        on_device ? "cuda:" + std::to_string(spec.devices[placement[worker].front()]) : spec.compute_path;
    workers_.emplace_back().ops = reserve(
        device, "use another device", [&] { return spec.backend.make_ops(device, threads, spec.profile); });
    budgets.emplace_back(spec, *workers_.back().ops);
  }
  if (count > 1)
    comm_group_ = reserve("The buffers through which devices exchange sums", "lower maxBatchTokens", [&] {
      return spec.backend.make_group(
          spec.devices, {.sum_elements = int64_t{spec.max_batch_tokens} * config.hidden_size,
                         .part_elements = int64_t{kMaxLogitRows} * ((config.vocab_size + 1) / 2)});
    });
  int64_t most_blocks = kMostBlocks;
  const size_t block_bytes =
      KvCache::block_bytes(config.num_layers, config.num_kv_heads / spec.ranks, config.head_dim);
  for (int worker = 0; worker < count; ++worker) {
    Worker& made = workers_[worker];
    if (count > 1)
      made.comm = comm_group_->comm(worker, *made.ops);
    else
      made.comm = std::make_unique<SoloComm>();
    std::vector<Weights> weights;
    for (const int rank : placement[worker])
      weights.push_back(shard_weights(config, store_, rank, spec.ranks));
    const Budget& budget = budgets[worker];
    if (on_device && !loaded_)
      budget.check("The weights take ", bytes_of(weights), "spread the model with tensorParallel: 2");
    reserve("The weights", "spread the model with tensorParallel: 2", [&] {
      made.model = std::make_unique<Model>(config, std::move(weights), spec.ranks, *made.ops, *made.comm,
                                           spec.max_batch_tokens, worker == 0, cancel_, spec.debug);
    });
    take_workspaces(made);
    const size_t bytes_each = block_bytes * placement[worker].size();
    if (num_blocks_ == 0)
      most_blocks = std::min(most_blocks, budget.blocks(bytes_each));
    else if (on_device)
      budget.check_cache(num_blocks_, bytes_each);
  }
  if (num_blocks_ == 0) num_blocks_ = static_cast<int32_t>(most_blocks);
  make_caches();
  if (on_device) store_.release();
  loaded_ = true;
}

void RankGroup::take_workspaces(Worker& worker) {
  reserve("Workspaces", "lower maxBatchTokens, maxSequences or maxContext", [&] {
    worker.model->allocate();
    worker.ops->reserve({.tokens = spec_.max_batch_tokens,
                         .sequences = spec_.max_sequences,
                         .context = spec_.max_context,
                         .logit_rows = kMaxLogitRows,
                         .vocabulary = spec_.config.vocab_size,
                         .head_dim = spec_.config.head_dim});
  });
}

void RankGroup::make_caches() {
  const ModelConfig& config = spec_.config;
  const std::string tokens = std::to_string(int64_t{num_blocks_} * kBlockTokens);
  reserve("The KV cache of " + tokens + " tokens", "lower kvCacheTokens or memoryFraction", [&] {
    for (Worker& worker : workers_)
      for (int i = 0; i < worker.model->ranks(); ++i)
        worker.caches.emplace_back(*worker.ops, config.num_layers, config.num_kv_heads / spec_.ranks,
                                   config.head_dim, num_blocks_);
  });
}

RankGroup::~RankGroup() { stop(); }

uint64_t RankGroup::device_bytes() const {
  uint64_t bytes = spec_.devices.empty() ? store_.copied_bytes() : 0;
  if (comm_group_ != nullptr) bytes += comm_group_->device_bytes();
  for (const Worker& worker : workers_) bytes += worker.ops->held_bytes();
  return bytes;
}

void RankGroup::stop() noexcept {
  task_ = nullptr;
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RankGroup::forward(const Step& step) {
  run([&step](Worker& worker) { worker.model->forward(step, worker.caches); });
}

Matrix<float> RankGroup::logits(std::span<const int32_t> rows) {
  Matrix<float> result;
  run([&](Worker& worker) {
    const Matrix<float> logits = worker.model->logits(rows);
    if (&worker == &workers_.front()) result = logits;
  });
  return result;
}

void RankGroup::sample(std::span<SampleResult> results, const Step& step) {
  const std::span rows(step.head_rows);
  run([&](Worker& worker) {
    for (size_t begin = 0; begin < rows.size(); begin += kMaxLogitRows) {
      const size_t count = std::min<size_t>(kMaxLogitRows, rows.size() - begin);
      const Matrix<float> logits = worker.model->logits(rows.subspan(begin, count));
      if (&worker == &workers_.front())
        worker.ops->sample(results.subspan(begin, count), logits,
                           std::span(step.samples).subspan(begin, count));
    }
    // Several wait here, all of them: who fails must say so, or the others would wait for it for ever.
    if (workers_.size() > 1) worker.ops->collect();
  });
}

void RankGroup::collect() {
  if (workers_.size() == 1) ops().collect();
}

std::vector<KernelProfile> RankGroup::profile() {
  std::vector<KernelProfile> result;
  if (workers_.empty()) return result;  // asleep
  run([&](Worker& worker) {
    auto profile = worker.ops->profile();  // waits for its device, whose kernels may wait for another's
    if (&worker == &workers_.front()) result = std::move(profile);
  });
  return result;
}

// Several workers are done with the step since sample(), and have the same hidden states.
void RankGroup::read_hidden(Matrix<BFloat16> y, std::span<const int32_t> rows) {
  ops().read_rows(y, model().hidden(), rows);
}

void RankGroup::run(const Task& task) {
  if (cancel_.load(std::memory_order_relaxed))
    throw Error("ENGINE_CLOSED", "the engine was closed during a step");
  if (workers_.size() == 1) return task(workers_.front());
  task_ = &task;
  busy_ = static_cast<uint32_t>(threads_.size());
  run_number_.fetch_add(1, std::memory_order_release);
  run_number_.notify_all();
  run_on(0);
  for (uint32_t busy = busy_.load(std::memory_order_acquire); busy != 0;
       busy = busy_.load(std::memory_order_acquire))
    busy_.wait(busy);
  for (const std::exception_ptr& failure : failures_)
    if (failure != nullptr) std::rethrow_exception(failure);
}

void RankGroup::run_on(size_t worker) noexcept {
  failures_[worker] = nullptr;
  try {
    (*task_)(workers_[worker]);
  } catch (const PeerFailed&) {
    // The one that failed says why.
  } catch (...) {
    failures_[worker] = std::current_exception();
    workers_[worker].comm->abandon();
  }
}

void RankGroup::worker_loop(size_t worker) {
  for (uint32_t seen = 0;;) {
    run_number_.wait(seen, std::memory_order_acquire);
    seen = run_number_.load(std::memory_order_acquire);
    if (task_ == nullptr) return;
    run_on(worker);
    busy_.fetch_sub(1, std::memory_order_release);
    busy_.notify_one();
  }
}

}  // namespace lockstep
