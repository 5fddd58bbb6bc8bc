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

// The weights where the ops can read them.
Weights placed(Ops& ops, Weights weights) {
  const auto matrix = [&](Matrix<const BFloat16>& w) {
    if (w.data != nullptr) w = ops.place(w);
  };
  const auto vector = [&](std::span<const BFloat16>& w) {
    w = {ops.place({w.data(), 1, std::ssize(w)}).data, w.size()};
  };
  matrix(weights.embed);
  for (LayerWeights& layer : weights.layers) {
    for (auto* w : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) vector(*w);
    for (auto* w : {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down})
      matrix(*w);
  }
  vector(weights.norm);
  matrix(weights.head);
  return weights;
}

}  // namespace

Model::Model(const ModelConfig& config, Weights weights, Ops& ops, Comm& comm, int max_tokens,
             const std::atomic<bool>& cancel)
    : config_(config),
      weights_(placed(ops, std::move(weights))),
      ops_(ops),
      comm_(comm),
      cancel_(cancel),
      parts_(config.max_ranks() / comm.ranks()) {
  const LayerWeights& layer = weights_.layers.front();
  const auto carve = [&](std::byte* memory) {
    Arena arena(memory);
    arena.take(residual_, max_tokens, config_.hidden_size);
    arena.take(x_, max_tokens, config_.hidden_size);
    arena.take(q_, max_tokens, layer.wq.rows);
    arena.take(attention_, max_tokens, layer.wq.rows);
    arena.take(kv_, max_tokens, 2 * layer.wk.rows);
    arena.take(mlp_, max_tokens, layer.w_gate.rows);
    arena.take(sum_, max_tokens, config_.hidden_size);
    arena.take(rope_, max_tokens, config_.head_dim);
    arena.take(head_x_, kMaxLogitRows, config_.hidden_size);
    arena.take(logits_part_, kMaxLogitRows, weights_.head.rows);
    if (comm_.ranks() > 1 && comm_.rank() == 0) arena.take(logits_, kMaxLogitRows, config_.vocab_size);
    return arena.used_bytes();
  };
  memory_ = ops_.allocate(carve(nullptr));
  carve(memory_->data());
  if (comm_.ranks() == 1) logits_ = logits_part_;
}

void Model::forward(const Step& step, const KvCache& cache) {
  const int64_t T = static_cast<int64_t>(step.tokens.size());
  const float eps = config_.rms_norm_eps;
  const auto residual = residual_.first_rows(T), x = x_.first_rows(T);
  const auto q = q_.first_rows(T), attention = attention_.first_rows(T);
  const auto mlp = mlp_.first_rows(T);
  const auto sum = sum_.first_rows(T), rope = rope_.first_rows(T);

  ops_.begin_step({step.tokens, step.positions, step.sequences, step.head_rows});
  ops_.embed(residual, weights_.embed, step.tokens);
  ops_.rope_table(rope, step.positions, config_.rope_inv_freq, config_.rope_scale);
  ops_.rms_norm(x, residual, weights_.layers.front().input_norm, eps);
  for (size_t index = 0; index < weights_.layers.size(); ++index) {
    if (cancel_.load(std::memory_order_relaxed))
      throw Error("ENGINE_CLOSED", "the engine was closed during a step");
    const LayerWeights& layer = weights_.layers[index];
    const KvLayer kv = cache.layer(static_cast<int>(index));
    ops_.project_qkv({.q = q,
                      .cache = kv,
                      .scratch = kv_.first_rows(T),
                      .x = x,
                      .wq = layer.wq,
                      .wk = layer.wk,
                      .wv = layer.wv,
                      .q_norm = layer.q_norm,
                      .k_norm = layer.k_norm,
                      .eps = eps,
                      .rope = rope,
                      .sequences = step.sequences});
    ops_.attention(attention, q, kv, step.sequences);
    ops_.linear(sum, attention, layer.wo, parts_);
    comm_.all_reduce(sum);
    ops_.add_norm(residual, x, sum, layer.post_attention_norm, eps);

    ops_.gate_up(mlp, x, layer.w_gate, layer.w_up);
    ops_.linear(sum, mlp, layer.w_down, parts_);
    comm_.all_reduce(sum);
    const bool last = index + 1 == weights_.layers.size();
    ops_.add_norm(residual, x, sum, last ? weights_.norm : weights_.layers[index + 1].input_norm, eps);
  }
}

Matrix<float> Model::logits(std::span<const int32_t> rows) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const auto head_x = head_x_.first_rows(count);
  const auto logits_part = logits_part_.first_rows(count);
  const auto logits = logits_.first_rows(count);
  ops_.gather_rows(head_x, x_, rows);
  ops_.linear(logits_part, head_x, weights_.head, 1);
  comm_.gather_columns(logits, logits_part);
  return logits;
}

}  // namespace lockstep
