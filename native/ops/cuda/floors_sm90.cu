// The multiply-adds of floors.cu by wgmma m64n160k16, as linear_sm90.cu issues it: a warpgroup has one sum, and its
// operands stay in shared memory.
#include "ops/cuda/floors_sm90.cuh"
#include "ops/cuda/launch.h"

#ifdef __CUDACC__
#include "ops/cuda/wgmma.cuh"

namespace lockstep::cuda {
namespace {

__global__ void __launch_bounds__(256, 2) multiply_sm90_kernel(int rounds, float* sink) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  auto* const slab = dynamic_shared<uint32_t>();
  for (uint32_t i = threadIdx.x; i < kSlabBytes / 4; i += blockDim.x) slab[i] = operand_bits(i);
  fence_for_wgmma();
  __syncthreads();
  const uint32_t a = shared_address(slab), b = a + 64 * 128;
  float sums[20][4] = {};
  for (int round = 0; round < rounds; ++round) {
    wgmma_fence();
#pragma unroll
    for (uint32_t step = 0; step < 4; ++step)
      wgmma_bf16(sums, slab_descriptor(a + step * 32), slab_descriptor(b + step * 32));
    wgmma_commit();
    wgmma_wait<1>();
  }
  wgmma_wait<0>();
  float total = 0;
#pragma unroll
  for (int n = 0; n < 20; ++n) total += sums[n][0] + sums[n][1] + sums[n][2] + sums[n][3];
  if (total == 12345.0f) *sink = total;
#endif
}

}  // namespace

void multiply_sm90(const Launch& how, int rounds, float* sink) {
  launch(how, multiply_sm90_kernel, rounds, sink);
}

}  // namespace lockstep::cuda
#else  // on the CPU
namespace lockstep::cuda {
void multiply_sm90(const Launch&, int, float*) {}
}  // namespace lockstep::cuda
#endif
