// What all tiles of the linear layers share: the order of K, the way of a row into shared memory, the way of a
// result out. linear.cu has the order in words. Device code, and what linear_sm90.cu offers.
#pragma once
#include "ops/cuda/kernels.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {

constexpr int kSlab = 64;   // elements of K in a slab
constexpr int kSlices = 4;  // of a part

enum class Output { kFloat, kBf16, kGateUp };

// The same result by wgmma. False where this device or this call is not for it; nothing is launched then.
bool linear_sm90(const LinearCall& call, Output output, int64_t rows, Stream& stream);

// The slabs of K that a group walks, in order: those of slices [slice, slice_end), counted over all parts.
struct Walk {
  int part_length, slabs;  // of a part
  int slice, slice_end, slab = 0, slab_end = 0;

  __device__ Walk(const LinearCall& c, int first_slice, int slices)
      : part_length(static_cast<int>(c.k) / c.parts),
        slabs((part_length + kSlab - 1) / kSlab),
        slice(first_slice),
        slice_end(first_slice + slices) {
    enter();
  }
  __device__ bool done() const { return slice == slice_end; }
  __device__ int part() const { return slice / kSlices; }
  __device__ bool last_of_slice() const { return slab + 1 == slab_end; }
  __device__ int k_begin() const { return part() * part_length + slab * kSlab; }
  __device__ int k_end() const { return (part() + 1) * part_length; }  // of the part
  __device__ void next() {
    if (++slab < slab_end) return;
    next_slice();
  }
  __device__ void next_slice() {
    ++slice;
    enter();
  }

 private:
  __device__ void enter() {  // the next slice that has a slab
    for (; slice < slice_end; ++slice) {
      slab = slabs * (slice % kSlices) / kSlices;
      slab_end = slabs * (slice % kSlices + 1) / kSlices;
      if (slab < slab_end) return;
    }
  }
};

// Eight elements of K of one row; what lies at or beyond k_end, or in no row, is zero.
__device__ __forceinline__ void load_piece(Bf16* to, const Bf16* row, int k, int k_end, bool aligned,
                                           const Bf16* somewhere) {
  const int left = row == nullptr ? 0 : k_end - k;
  const int valid = left < 0 ? 0 : left < 8 ? left : 8;
  if (aligned) {
    copy_async_16(to, valid > 0 ? row + k : somewhere, valid * 2);
  } else {
    for (int i = 0; i < 8; ++i) to[i] = i < valid ? row[k + i] : Bf16{0};
  }
}

// One output of a part. `add`: to another part's, which is there.
template <Output kOutput>
__device__ void store(const LinearCall& c, int64_t token, int64_t row, bool add, float value) {
  if (token >= c.tokens) return;
  for (const LinearCall::Rows& to : c.rows) {
    if (row < to.rows) {
      const int64_t at = token * to.y_stride + row;
      if constexpr (kOutput == Output::kFloat) {
        float* const y = static_cast<float*>(to.y) + at;
        *y = add ? *y + value : value;
      } else {
        static_cast<Bf16*>(to.y)[at] = round_bf16(value);
      }
      return;
    }
    row -= to.rows;
  }
}

__device__ inline void store_gate_up(const LinearCall& c, int64_t token, int64_t feature, float gate,
                                     float up) {
  if (token < c.tokens && feature < c.rows[0].rows)
    static_cast<Bf16*>(c.rows[0].y)[token * c.rows[0].y_stride + feature] = round_bf16(silu_mul(gate, up));
}

}  // namespace lockstep::cuda
