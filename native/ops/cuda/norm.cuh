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

// Of a row that a warp holds: element 32 v + lane is x[v], zero beyond the row.
template <int kEach>
__device__ __forceinline__ float sum_of_squares(const Bf16 (&x)[kEach]) {
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kEach; ++v) sum = fused(widen(x[v]), widen(x[v]), sum);
  return fold_sum(sum);
}

__device__ __forceinline__ float norm_scale(float sum, int64_t n, float eps) {
  return 1.0f / sqrtf(sum / static_cast<float>(n) + eps);
}

__device__ __forceinline__ Bf16 normed(float x, float scale, Bf16 weight) {
  return round_bf16(widen(round_bf16(x * scale)) * widen(weight));
}

}  // namespace lockstep::cuda
