// Views of memory that somebody else owns: what the verbs of ops.h read and write. No allocation, no
// arithmetic.
#pragma once
#include <cstdint>
#include <span>

#include "base/bfloat16.h"

namespace lockstep {

// A row-major matrix whose rows lie `stride` elements apart: [rows, cols].
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  Matrix() = default;
  Matrix(T* data_, int64_t rows_, int64_t cols_) : data(data_), rows(rows_), cols(cols_), stride(cols_) {}
  Matrix(T* data_, int64_t rows_, int64_t cols_, int64_t stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}
  operator Matrix<const T>() const { return {data, rows, cols, stride}; }

  T* row(int64_t i) const { return data + i * stride; }
  Matrix first_rows(int64_t count) const { return {data, count, cols, stride}; }
};

constexpr int kBlockTokens = 16;  // B: tokens per KV block

// One layer's share of the paged KV cache on one rank. The layout inside a block belongs to the backend (see
// kv_block_elements in ops.h for its size); the block pool above only hands out block numbers.
struct KvLayer {
  BFloat16* k = nullptr;  // [num_blocks, Hkv, B * d], the order inside B * d is the backend's
  BFloat16* v = nullptr;  // same
  int32_t num_blocks = 0;
  int32_t kv_heads = 0;  // Hkv of this rank
  int32_t head_dim = 0;  // d, even
};

// The tokens that one sequence brings to a step: rows [first_row, first_row + num_tokens) of the step's
// activations, at absolute positions start_position, start_position + 1, ...
struct SequenceSlice {
  int32_t first_row = 0;
  int32_t num_tokens = 0;
  int32_t start_position = 0;
  const int32_t* blocks = nullptr;  // block numbers; covers start_position + num_tokens tokens
};

}  // namespace lockstep
