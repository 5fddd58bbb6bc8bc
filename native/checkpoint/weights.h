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

// Finds every tensor of the model. The store must outlive the weights. Throws Error("INVALID_CHECKPOINT").
Weights shard_weights(const ModelConfig& config, const TensorStore& store, int rank, int ranks);

}  // namespace lockstep
