// The launchers of every kernel family, as the backend's verbs call them: destination first, device pointers,
// sizes, stream. Shapes have been checked by the verb (cuda_ops.cpp). Plain C++: the verbs need no CUDA
// compiler.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "ops/cuda/stream.h"
#include "ops/sampling.h"
#include "ops/tensor.h"

namespace lockstep::cuda {

// What one linear launch computes: y = x W^T for W the rows of up to three matrices one below the other, or
// (gate and up) of two matrices interleaved by eights.
struct LinearCall {
  struct Rows {
    const uint16_t* w = nullptr;  // [rows, k]
    int64_t stride = 0;
    int64_t rows = 0;
    void* y = nullptr;  // out [tokens, rows]: float32 or BF16
    int64_t y_stride = 0;
  };
  Rows rows[3];
  const uint16_t* x = nullptr;  // [tokens, k]
  int64_t x_stride = 0;
  int64_t tokens = 0;
  int64_t k = 0;
  int parts = 1;    // divides k
  int aligned = 0;  // whether every row of every part starts at a multiple of 16 bytes
  uint32_t* words =
      nullptr;  // linear_words() zeros, which launches leave zero; null: a part gets no block of its own
};

size_t linear_words(const Stream& stream);
void linear(const LinearCall& call, Stream& stream);          // float32 outputs
void linear_rounded(const LinearCall& call, Stream& stream);  // BF16 outputs
void linear_gate_up(const LinearCall& call,
                    Stream& stream);  // rows[0] gate, rows[1] up; y of rows[0], BF16

// y[i] = x[rows[i]]. y [count, cols], rows [count] on the device. A row that is unsampled(j) is sampled[j], or 0
// where that is none.
void copy_rows(Matrix<uint16_t> y, Matrix<const uint16_t> x, const int32_t* rows, const int32_t* sampled,
               Stream& stream);

// y += x.
void add_rows(Matrix<float> y, Matrix<const float> x, Stream& stream);

// sum null: y = rms_norm(x); else x = bf16(x + bf16(sum)) first.
void rms_norm(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
              float eps, Stream& stream);

void rope_table(Matrix<float> table, const int32_t* positions, const float* inv_freq, float scale,
                Stream& stream);

// One layer's KV cache: K and V both [block, Hkv, 16 keys, d].
struct Cache {
  uint16_t *k, *v;
  int32_t kv_heads, head_dim;
};

// Norm and rotation of q and k heads, K and V to their slots.
struct HeadsCall {
  Matrix<uint16_t> q;   // [T, Hq * d], in place
  Matrix<uint16_t> kv;  // [T, 2 * Hkv * d]: K, then V
  Cache cache;
  const uint16_t *q_norm, *k_norm;  // [d]
  Matrix<const float> rope;         // [T, d]
  const int64_t* slots;             // [T]: block * 16 + key, or -1
  int32_t query_heads;
  float eps;
};
void finish_heads(const HeadsCall& call, Stream& stream);

// A few tokens of one sequence: with all query heads of a key-value head, one tile of attention.
struct AttentionTile {
  int32_t first_row;  // in q and y
  int32_t tokens;
  int32_t position;      // of the first token
  int32_t block_offset;  // of the sequence's block numbers in `blocks`
};
// Query rows (tokens x heads of a group) in a tile. Wide ones are for prompts, and for heads up to kWideHeadDim.
constexpr int kNarrowRows = 16, kWideRows = 64, kWideHeadDim = 128;

struct AttentionCall {
  Matrix<uint16_t> y;        // [T, Hq * d]
  Matrix<const uint16_t> q;  // same
  Cache cache;
  const int32_t* blocks;       // the step's block numbers
  const AttentionTile* tiles;  // [tile_count]
  int32_t tile_count;
  int32_t max_splits;  // splits of the longest context in the step
  int32_t group;       // Hq / Hkv
  float scale;
  int64_t aligned;   // whether rows of q start at multiples of 16 bytes
  float* workspace;  // partial results of splits, or null: a block walks all splits of its tile itself
};
// `keys`: read in all, for the profiler.
void attention(const AttentionCall& call, bool wide, double keys, Stream& stream);
// Floats that `workspace` needs for so many (tile, head, split).
int64_t attention_workspace(int64_t partials, int32_t head_dim);

}  // namespace lockstep::cuda
