// The order of an RMS norm's sum, for whole rows and for heads: a function of the row's length alone. Device
// code only.
//
// Rows of at most 512 elements: one warp, lane i takes elements 32 v + i, x² added fused, folded in halves.
// Longer rows: eight warps, thread i takes 1,024 v + 4 i and the three after it; each warp folded, then the warps'
// sums added ascending.
#pragma once
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {

constexpr int kWarpNorm = 512;     // longest row that one warp sums
constexpr int kNormThreads = 256;  // of a longer one

// Sum of squares of `count` elements from `first`, `step` apart.
template <class Read>
__device__ __forceinline__ float sum_of_squares(int64_t first, int64_t count, int step, Read read) {
  float sum = 0.0f;
  for (int64_t i = first; i < count; i += step) {
    const float x = read(i);
    sum = fused(x, x, sum);
  }
  return fold_sum(sum);
}

__device__ __forceinline__ float norm_scale(float sum, int64_t n, float eps) {
  return 1.0f / sqrtf(sum / static_cast<float>(n) + eps);
}

__device__ __forceinline__ Bf16 normed(float x, float scale, Bf16 weight) {
  return round_bf16(widen(round_bf16(x * scale)) * widen(weight));
}

}  // namespace lockstep::cuda
