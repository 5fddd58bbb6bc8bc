// The weights of one rank: views into a tensor store. Runs on the engine thread at load.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/tensor_store.h"
#include "ops/tensor.h"

namespace lockstep {

struct ModelConfig {
  int32_t hidden_size = 0;        // D
  int32_t intermediate_size = 0;  // F
  int32_t num_layers = 0;
  int32_t num_heads = 0;     // Hq
  int32_t num_kv_heads = 0;  // Hkv
  int32_t head_dim = 0;      // d
  int32_t vocab_size = 0;    // V
  float rms_norm_eps = 0;
  bool tied_head = false;            // the head is embed_tokens
  std::vector<float> rope_inv_freq;  // [d / 2]
  float rope_scale = 1;              // YaRN's attention factor

  // R_max: into how many parts K of the row-parallel layers is summed, and the largest tensor-parallel
  // degree.
  // The same rule as maxRanks in src/options.ts.
  int max_ranks() const {
    return num_heads % 2 == 0 && num_kv_heads % 2 == 0 && intermediate_size % 2 == 0 ? 2 : 1;
  }
};

struct LayerWeights {
  std::span<const BFloat16> input_norm, post_attention_norm;  // [D]
  std::span<const BFloat16> q_norm, k_norm;                   // [d]
  Matrix<const BFloat16> wq;                                  // [Hq * d, D]
  Matrix<const BFloat16> wk, wv;                              // [Hkv * d, D]
  Matrix<const BFloat16> wo;                                  // [D, Hq * d]
  Matrix<const BFloat16> w_gate, w_up;                        // [F, D]
  Matrix<const BFloat16> w_down;                              // [D, F]
};

// The weights of rank `rank` of `ranks`: column-parallel matrices lose rows, row-parallel ones columns.
struct Weights {
  Matrix<const BFloat16> embed;  // [V, D]
  std::vector<LayerWeights> layers;
  std::span<const BFloat16> norm;  // [D]
  Matrix<const BFloat16> head;     // [V of this rank, D]; empty where the checkpoint has none
};

// body(matrix) for each of them in a fixed order, vectors as matrices of one row; `body` may put another in its
// place. What a checkpoint does not have (a head) is left out.
template <class Body>
void for_each_matrix(Weights& weights, Body body) {
  const auto matrix = [&](Matrix<const BFloat16>& w) {
    if (w.data != nullptr) body(w);
  };
  const auto vector = [&](std::span<const BFloat16>& w) {
    Matrix<const BFloat16> row(w.data(), 1, std::ssize(w));
    body(row);
    w = {row.data, w.size()};
  };
  matrix(weights.embed);
  for (LayerWeights& layer : weights.layers) {
    for (auto* w : {&layer.input_norm, &layer.post_attention_norm, &layer.q_norm, &layer.k_norm}) vector(*w);
    for (auto* w : {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down})
      matrix(*w);
  }
  vector(weights.norm);
  matrix(weights.head);
}

std::vector<Matrix<const BFloat16>> list_of(Weights weights);  // in the order of for_each_matrix

// Finds every tensor of the model. The store must outlive the weights. Throws Error("INVALID_CHECKPOINT").
Weights shard_weights(const ModelConfig& config, const TensorStore& store, int rank, int ranks);

}  // namespace lockstep
