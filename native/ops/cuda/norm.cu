// RMS norm of rows, alone or with the residual's addition before it. Order of the sum: norm.cuh.
//
// Per row: 4 D bytes (alone), 12 D bytes with the addition; 4 D FLOPs. Floor: memory bandwidth.
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/norm.cuh"

namespace lockstep::cuda {
namespace {

struct NormShared {
  float warps[kNormThreads / 32];
};

// Grid: a block a row; 32 threads for rows of at most kWarpNorm elements, else kNormThreads.
__global__ void __launch_bounds__(kNormThreads)
    rms_norm_kernel(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
                    float eps) {
  begin_kernel();
  auto& shared = *dynamic_shared<NormShared>();
  const int64_t row = blockIdx.x, n = x.cols;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  Bf16* const from = x.data + row * x.stride;
  Bf16* const to = y.data + row * y.stride;
  if (sum.data != nullptr) {  // each thread reads below what it writes here
    const float* const added = sum.data + row * sum.stride;
    for (int64_t i = thread; i < n; i += threads)
      from[i] = round_bf16(widen(from[i]) + widen(round_bf16(added[i])));
  }
  float total = sum_of_squares(thread, n, threads, [&](int64_t i) { return widen(from[i]); });
  if (threads > 32) {
    if (thread % 32 == 0) shared.warps[thread / 32] = total;
    __syncthreads();
    total = shared.warps[0];
    for (int warp = 1; warp < kNormThreads / 32; ++warp) total = total + shared.warps[warp];
  }
  const float scale = norm_scale(total, n, eps);
  for (int64_t i = thread; i < n; i += threads) to[i] = normed(widen(from[i]), scale, weight[i]);
}

}  // namespace

void rms_norm(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
              float eps, Stream& stream) {
  const double elements = static_cast<double>(x.rows * x.cols);
  launch({.name = "rms_norm",
          .grid = dim3(static_cast<unsigned>(x.rows)),
          .block = dim3(x.cols <= kWarpNorm ? 32 : kNormThreads),
          .shared_bytes = sizeof(NormShared),
          .stream = stream,
          .bytes = (sum.data == nullptr ? 4.0 : 12.0) * elements,
          .flops = 4.0 * elements},
         rms_norm_kernel, y, x, sum, weight, eps);
}

}  // namespace lockstep::cuda
