#include "model/model.h"

#include <utility>

#include "base/error.h"

namespace lockstep {
namespace {

constexpr size_t kAlignment = 64;

// Carves matrices out of one allocation: the first pass (no memory) adds up what the second hands out.
class Arena {
 public:
  explicit Arena(std::byte* memory) : memory_(memory) {}

  template <class T>
  void take(Matrix<T>& matrix, int64_t rows, int64_t cols) {
    matrix = {reinterpret_cast<T*>(memory_ == nullptr ? nullptr : memory_ + used_bytes_), rows, cols};
    used_bytes_ += (static_cast<size_t>(rows) * cols * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }
  size_t used_bytes() const { return used_bytes_; }

 private:
  std::byte* memory_;
  size_t used_bytes_ = 0;
};

// The weights where the ops can read them. A matrix is a tenth of a second's work at most.
Weights placed(Ops& ops, Weights weights, const std::atomic<bool>& cancel) {
  for_each_matrix(weights, [&](Matrix<const BFloat16>& w) {
    if (cancel.load(std::memory_order_relaxed))
      throw Error("ENGINE_CLOSED", "the engine was closed while it was loading");
    w = ops.place(w);
  });
  return weights;
}

}  // namespace

Model::Model(const ModelConfig& config, std::vector<Weights> weights, int ranks, Ops& ops, Comm& comm,
             int max_tokens, bool whole_logits, const std::atomic<bool>& cancel, bool debug)
    : config_(config),
      ops_(ops),
      comm_(comm),
      cancel_(cancel),
      finite_check_(debug ? std::make_unique<FiniteCheck>(ops) : nullptr),
      max_tokens_(max_tokens),
      whole_logits_(whole_logits),
      parts_(config.max_ranks() / ranks) {
  for (Weights& of_rank : weights) {
    shards_.push_back({.weights = placed(ops, std::move(of_rank), cancel),
                       .q = {},
                       .attention = {},
                       .kv = {},
                       .mlp = {},
                       .sum = {}});
  }
  ops.wait();
}

void Model::allocate() {
  int64_t vocabulary = 0;  // of this device
  for (const Shard& shard : shards_) vocabulary += shard.weights.head.rows;
  const bool gathered = vocabulary < config_.vocab_size && has_head();
  const auto carve = [&](std::byte* memory) {
    Arena arena(memory);
    arena.take(residual_, max_tokens_, config_.hidden_size);
    arena.take(x_, max_tokens_, config_.hidden_size);
    arena.take(rope_, max_tokens_, config_.head_dim);
    arena.take(head_x_, kMaxLogitRows, config_.hidden_size);
    arena.take(logits_part_, kMaxLogitRows, vocabulary);
    if (gathered && whole_logits_) arena.take(logits_, kMaxLogitRows, config_.vocab_size);
    for (Shard& shard : shards_) {
      const LayerWeights& layer = shard.weights.layers.front();
      arena.take(shard.q, max_tokens_, layer.wq.rows);
      arena.take(shard.attention, max_tokens_, layer.wq.rows);
      arena.take(shard.kv, max_tokens_, 2 * layer.wk.rows);
      arena.take(shard.mlp, max_tokens_, layer.w_gate.rows);
      arena.take(shard.sum, max_tokens_, config_.hidden_size);
    }
    return arena.used_bytes();
  };
  memory_ = ops_.allocate(carve(nullptr));
  carve(memory_->data());
  if (!gathered) logits_ = logits_part_;
}

void Model::replace_weights(std::vector<Weights> weights) {
  for (size_t i = 0; i < shards_.size(); ++i) {
    const auto old = list_of(shards_[i].weights);
    auto next = old.begin();
    for_each_matrix(weights[i], [&](Matrix<const BFloat16>& w) { w = ops_.replace(*next++, w); });
    shards_[i].weights = std::move(weights[i]);
  }
  ops_.wait();
}

void Model::forward(const Step& step, std::span<const KvCache> caches) {
  const int64_t T = static_cast<int64_t>(step.tokens.size());
  const float eps = config_.rms_norm_eps;
  const auto residual = residual_.first_rows(T), x = x_.first_rows(T);
  const Weights& common = shards_.front().weights;  // the embedding and the norms of layers

  ops_.begin_step({step.tokens, step.positions, step.sequences, step.head_rows});
  if (finite_check_) finite_check_->begin(T);
  ops_.embed(residual, common.embed, step.tokens);
  look(residual, {ModelPart::kEmbedding});
  ops_.rope_table(rope_.first_rows(T), step.positions, config_.rope_inv_freq, config_.rope_scale);
  ops_.rms_norm(x, residual, common.layers.front().input_norm, eps);
  for (size_t layer = 0; layer < common.layers.size(); ++layer) {
    const int32_t number = static_cast<int32_t>(layer);
    if (cancel_.load(std::memory_order_relaxed))
      throw Error("ENGINE_CLOSED", "the engine was closed during a step");
    for (size_t i = 0; i < shards_.size(); ++i) attend(shards_[i], layer, caches[i], step);
    ops_.add_norm(residual, x, all_reduce(T), common.layers[layer].post_attention_norm, eps);
    look(residual, {ModelPart::kAttention, number});

    for (const Shard& shard : shards_) feed_forward(shard, layer, T);
    const bool last = layer + 1 == common.layers.size();
    ops_.add_norm(residual, x, all_reduce(T), last ? common.norm : common.layers[layer + 1].input_norm, eps);
    look(residual, {ModelPart::kMlp, number});
  }
  look(x, {ModelPart::kNorm});
}

void Model::attend(const Shard& shard, size_t layer, const KvCache& cache, const Step& step) {
  const int64_t T = static_cast<int64_t>(step.tokens.size());
  const LayerWeights& weights = shard.weights.layers[layer];
  const KvLayer kv = cache.layer(static_cast<int>(layer));
  const auto q = shard.q.first_rows(T), attention = shard.attention.first_rows(T);
  ops_.project_qkv({.q = q,
                    .cache = kv,
                    .scratch = shard.kv.first_rows(T),
                    .x = x_.first_rows(T),
                    .wq = weights.wq,
                    .wk = weights.wk,
                    .wv = weights.wv,
                    .q_norm = weights.q_norm,
                    .k_norm = weights.k_norm,
                    .eps = config_.rms_norm_eps,
                    .rope = rope_.first_rows(T),
                    .sequences = step.sequences});
  ops_.attention(attention, q, kv, step.sequences);
  ops_.linear(shard.sum.first_rows(T), attention, weights.wo, parts_);
}

void Model::feed_forward(const Shard& shard, size_t layer, int64_t T) {
  const LayerWeights& weights = shard.weights.layers[layer];
  const auto mlp = shard.mlp.first_rows(T);
  ops_.gate_up(mlp, x_.first_rows(T), weights.w_gate, weights.w_up);
  ops_.linear(shard.sum.first_rows(T), mlp, weights.w_down, parts_);
}

// The ranks' sums become one: this device's first (R_max is 2: a tree of one node), then the others'.
Matrix<float> Model::all_reduce(int64_t T) {
  const Matrix<float> sum = shards_.front().sum.first_rows(T);
  for (size_t i = 1; i < shards_.size(); ++i) ops_.add(sum, shards_[i].sum.first_rows(T));
  comm_.all_reduce(sum);
  return sum;
}

void Model::look(Matrix<const BFloat16> x, NonFinite part) {
  if (finite_check_) finite_check_->look(x, part);
}

Matrix<float> Model::logits(std::span<const int32_t> rows) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const auto head_x = head_x_.first_rows(count);
  const auto part = logits_part_.first_rows(count), logits = logits_.first_rows(count);
  ops_.gather_rows(head_x, x_, rows);
  int64_t column = 0;
  for (const Shard& shard : shards_) {
    const Matrix<const BFloat16> head = shard.weights.head;
    ops_.linear({part.data + column, count, head.rows, part.stride}, head_x, head, 1);
    column += head.rows;
  }
  comm_.gather_columns(logits, part);
  return logits;
}

}  // namespace lockstep
