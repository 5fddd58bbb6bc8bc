// What floors.cu and floors_sm90.cu share.
#pragma once
#include <cuda_runtime.h>

#include "ops/cuda/stream.h"

namespace lockstep::cuda {

// 64 rows of one operand and 160 of the other, 128 bytes each.
constexpr size_t kSlabBytes = (64 + 160) * 128;
// FLOPs of a warpgroup in a round of multiply_sm90: four wgmma of m64n160k16.
constexpr double kRoundFlops = 4 * 2.0 * 64 * 160 * 16;

// `rounds` of multiply-adds in every warpgroup; blocks of whole warpgroups with kSlabBytes of shared memory.
void multiply_sm90(const Launch& how, int rounds, float* sink);

// Two BF16 values of either sign in [2^-4, 2^-3).
__device__ __forceinline__ uint32_t operand_bits(uint32_t i) {
  uint32_t x = i * 2654435761u;
  x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
  return (x & 0x807f807fu) | 0x3d803d80u;
}

}  // namespace lockstep::cuda
