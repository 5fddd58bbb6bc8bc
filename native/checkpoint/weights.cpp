#include "checkpoint/weights.h"

#include <string>

namespace lockstep {
namespace {

// Rank `rank`'s rows of a column-parallel matrix.
Matrix<const BFloat16> row_shard(Matrix<const BFloat16> w, int rank, int ranks) {
  const int64_t rows = w.rows / ranks;
  return {w.row(rank * rows), rows, w.cols, w.stride};
}

// Rank `rank`'s columns of a row-parallel matrix.
Matrix<const BFloat16> column_shard(Matrix<const BFloat16> w, int rank, int ranks) {
  const int64_t cols = w.cols / ranks;
  return {w.data + rank * cols, w.rows, cols, w.stride};
}

// Rank `rank`'s rows of the head: the vocabulary need not split evenly.
Matrix<const BFloat16> vocabulary_shard(Matrix<const BFloat16> head, int rank, int ranks) {
  const int64_t begin = head.rows * rank / ranks, end = head.rows * (rank + 1) / ranks;
  return {head.row(begin), end - begin, head.cols, head.stride};
}

LayerWeights load_layer(const ModelConfig& config, const TensorStore& store, int layer, int rank, int ranks) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const int64_t hidden = config.hidden_size, mlp = config.intermediate_size, d = config.head_dim;
  const int64_t q = config.num_heads * d, kv = config.num_kv_heads * d;
  const auto shard_rows = [&](const char* name, int64_t rows) {
    return row_shard(store.matrix(prefix + name, rows, hidden), rank, ranks);
  };
  const auto shard_columns = [&](const char* name, int64_t cols) {
    return column_shard(store.matrix(prefix + name, hidden, cols), rank, ranks);
  };
  return {
      .input_norm = store.vector(prefix + "input_layernorm.weight", hidden),
      .post_attention_norm = store.vector(prefix + "post_attention_layernorm.weight", hidden),
      .q_norm = store.vector(prefix + "self_attn.q_norm.weight", d),
      .k_norm = store.vector(prefix + "self_attn.k_norm.weight", d),
      .wq = shard_rows("self_attn.q_proj.weight", q),
      .wk = shard_rows("self_attn.k_proj.weight", kv),
      .wv = shard_rows("self_attn.v_proj.weight", kv),
      .wo = shard_columns("self_attn.o_proj.weight", q),
      .w_gate = shard_rows("mlp.gate_proj.weight", mlp),
      .w_up = shard_rows("mlp.up_proj.weight", mlp),
      .w_down = shard_columns("mlp.down_proj.weight", mlp),
  };
}

}  // namespace

std::vector<Matrix<const BFloat16>> list_of(Weights weights) {
  std::vector<Matrix<const BFloat16>> list;
  for_each_matrix(weights, [&](const Matrix<const BFloat16>& w) { list.push_back(w); });
  return list;
}

Weights shard_weights(const ModelConfig& config, const TensorStore& store, int rank, int ranks) {
  Weights weights;
  weights.embed = store.matrix("model.embed_tokens.weight", config.vocab_size, config.hidden_size);
  for (int layer = 0; layer < config.num_layers; ++layer)
    weights.layers.push_back(load_layer(config, store, layer, rank, ranks));
  weights.norm = store.vector("model.norm.weight", config.hidden_size);
  if (config.tied_head)
    weights.head = vocabulary_shard(weights.embed, rank, ranks);
  else if (store.has("lm_head.weight"))
    weights.head =
        vocabulary_shard(store.matrix("lm_head.weight", config.vocab_size, config.hidden_size), rank, ranks);
  return weights;
}

}  // namespace lockstep
