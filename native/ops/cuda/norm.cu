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

template <int kThreads>
__device__ float total_of_block(NormShared& shared, float sum) {
  const int thread = static_cast<int>(threadIdx.x);
  float total = fold_sum(sum);
  if constexpr (kThreads > 32) {
    if (thread % 32 == 0) shared.warps[thread / 32] = total;
    __syncthreads();  // the warps' sums are there
    total = shared.warps[0];
    for (int warp = 1; warp < kThreads / 32; ++warp) total = total + shared.warps[warp];
  }
  return total;
}

// A thread keeps what it has read: its elements are kThreads apart, kMost at most (0: any number, read twice).
// Grid: a block a row.
template <int kThreads, int kMost>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
                    float eps) {
  auto& shared = *dynamic_shared<NormShared>();
  const int64_t row = blockIdx.x, n = x.cols;
  const int thread = static_cast<int>(threadIdx.x);
  Bf16* const from = x.data + row * x.stride;
  Bf16* const to = y.data + row * y.stride;
  const float* const added = sum.data == nullptr ? nullptr : sum.data + row * sum.stride;
  const auto element = [&](int64_t i) {
    if (added == nullptr) return from[i];
    return round_bf16(widen(from[i]) + widen(round_bf16(added[i])));
  };
  let_next_begin();
  float total = 0.0f;
  if constexpr (kMost > 0) {
    Bf16 weights[kMost], kept[kMost];
#pragma unroll
    for (int v = 0; v < kMost; ++v)
      if (const int64_t i = v * kThreads + thread; i < n) weights[v] = weight[i];
    wait_for_earlier();
#pragma unroll
    for (int v = 0; v < kMost; ++v)
      if (const int64_t i = v * kThreads + thread; i < n) kept[v] = element(i);
#pragma unroll
    for (int v = 0; v < kMost; ++v) {
      const int64_t i = v * kThreads + thread;
      if (i >= n) continue;
      if (added != nullptr) from[i] = kept[v];
      total = fused(widen(kept[v]), widen(kept[v]), total);
    }
    total = total_of_block<kThreads>(shared, total);
    const float scale = norm_scale(total, n, eps);
#pragma unroll
    for (int v = 0; v < kMost; ++v)
      if (const int64_t i = v * kThreads + thread; i < n) to[i] = normed(widen(kept[v]), scale, weights[v]);
  } else {
    wait_for_earlier();
    for (int64_t i = thread; i < n; i += kThreads) {  // each thread reads below what it writes here
      const Bf16 value = element(i);
      if (added != nullptr) from[i] = value;
      total = fused(widen(value), widen(value), total);
    }
    total = total_of_block<kThreads>(shared, total);
    const float scale = norm_scale(total, n, eps);
    for (int64_t i = thread; i < n; i += kThreads) to[i] = normed(widen(from[i]), scale, weight[i]);
  }
}

template <int kThreads, int kMost>
void launch_norm(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
                 float eps, Stream& stream) {
  const double elements = static_cast<double>(x.rows * x.cols);
  launch({.name = "rms_norm",
          .grid = dim3(static_cast<unsigned>(x.rows)),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(NormShared),
          .stream = stream,
          .bytes = (sum.data == nullptr ? 4.0 : 12.0) * elements,
          .flops = 4.0 * elements},
         rms_norm_kernel<kThreads, kMost>, y, x, sum, weight, eps);
}

}  // namespace

void rms_norm(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
              float eps, Stream& stream) {
  if (x.cols <= kWarpNorm)
    launch_norm<32, kWarpNorm / 32>(y, x, sum, weight, eps, stream);
  else if (x.cols <= 4 * kNormThreads)
    launch_norm<kNormThreads, 4>(y, x, sum, weight, eps, stream);
  else if (x.cols <= 16 * kNormThreads)
    launch_norm<kNormThreads, 16>(y, x, sum, weight, eps, stream);
  else
    launch_norm<kNormThreads, 0>(y, x, sum, weight, eps, stream);
}

}  // namespace lockstep::cuda
