// Scalar arithmetic of the kernels: BF16 as bits, the exponential, SiLU, folds over a warp. Each operation is
// rounded once (--fmad=false), fused only where it says so: docs/numerics.md. Device code only.
#pragma once
#include <cstdint>
#include <cstring>

#include "ops/cuda/ptx.h"

namespace lockstep::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// Memory as the kernels see it: BFloat16 of base/ has alignment 1, which would cost a load per byte.
using Bf16 = uint16_t;

__device__ __forceinline__ float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}
__device__ __forceinline__ uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
__device__ __forceinline__ float widen(Bf16 x) { return from_bits(static_cast<uint32_t>(x) << 16); }
// To nearest, ties to even; NaN stays NaN (quiet).
__device__ __forceinline__ Bf16 round_bf16(float x) {
  const uint32_t bits = to_bits(x);
  if (x != x) return static_cast<Bf16>((bits >> 16) | 0x40u);
  return static_cast<Bf16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ __forceinline__ float round_to_integer(float x) {  // halves to even, |x| < 2^22
  const float shift = 12582912.0f;                            // 1.5 * 2^23
  return (x + shift) - shift;
}

// 2^n for whole n in [-126, 127].
__device__ __forceinline__ float power_of_two(float n) {
  return from_bits(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
}

// The kernels' exp of numerics.md, one lane: the same polynomial and the same steps as ops/cpu/kernels.
__device__ __forceinline__ float exp_own(float x) {
  const float lowest = -87.33f, highest = 88.72f;
  const float below = x > highest ? highest : x;
  const float clamped = below < lowest ? lowest : below;  // NaN stays
  if (x != x) return x;
  const float n = round_to_integer(clamped * 1.44269504f);
  float r = fused(n, -0.693359375f, clamped);
  r = fused(n, 2.12194440e-4f, r);
  float p = 1.0f / 5040;
  p = fused(p, r, 1.0f / 720);
  p = fused(p, r, 1.0f / 120);
  p = fused(p, r, 1.0f / 24);
  p = fused(p, r, 1.0f / 6);
  p = fused(p, r, 0.5f);
  p = fused(p * r, r, r) + 1.0f;
  const float half = round_to_integer(n * 0.5f);  // 2^n in two factors: n reaches 128
  const float y = p * power_of_two(half) * power_of_two(n - half);
  if (x < lowest) return 0.0f;
  return x > highest ? from_bits(0x7f800000u) : y;
}

// silu(bf16(gate)) * bf16(up), unrounded.
__device__ __forceinline__ float silu_mul(float gate, float up) {
  const float g = widen(round_bf16(gate)), u = widen(round_bf16(up));
  return g / (1.0f + exp_own(-g)) * u;
}

// Lanes folded in halves: lane i + lane i ^ 16, then 8, 4, 2, 1. All lanes get the sum.
__device__ __forceinline__ float fold_sum(float x) {
  for (int width = 16; width > 0; width /= 2) x = x + __shfl_xor_sync(kAllLanes, x, width);
  return x;
}
__device__ __forceinline__ float fold_max(float x) {
  for (int width = 16; width > 0; width /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, width);
    x = other > x ? other : x;
  }
  return x;
}

}  // namespace lockstep::cuda
