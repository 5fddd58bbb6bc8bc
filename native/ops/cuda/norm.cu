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

struct NormCall {
  Matrix<uint16_t> y, x;
  Matrix<const float> sum;  // null: none
  const uint16_t* weight;
  int32_t aligned;  // whether rows are whole fours of elements at multiples of 8 (float32: 16) bytes
  float eps;
};

// Rows of at most kWarpNorm elements. Grid: a warp a row.
__global__ void __launch_bounds__(32) short_norm_kernel(const NormCall c) {
  begin_kernel();
  const int64_t row = blockIdx.x, n = c.x.cols;
  Bf16 *const from = c.x.data + row * c.x.stride, *const to = c.y.data + row * c.y.stride;
  const float* const added = c.sum.data == nullptr ? nullptr : c.sum.data + row * c.sum.stride;
  Bf16 x[kWarpNorm / 32] = {};
#pragma unroll
  for (int v = 0; v < kWarpNorm / 32; ++v) {
    const int64_t i = 32 * v + threadIdx.x;
    if (i >= n) continue;
    x[v] = from[i];
    if (added != nullptr) from[i] = x[v] = round_bf16(widen(x[v]) + widen(round_bf16(added[i])));
  }
  const float scale = norm_scale(sum_of_squares(x), n, c.eps);
#pragma unroll
  for (int v = 0; v < kWarpNorm / 32; ++v)
    if (const int64_t i = 32 * v + threadIdx.x; i < n) to[i] = normed(widen(x[v]), scale, c.weight[i]);
}

// Four elements, zeros where there are fewer left.
struct Four {
  Bf16 of[4];

  __device__ static Four read(const Bf16* from, int64_t left, bool aligned) {
    Four four;
    if (aligned) {
      const uint2 pairs = *reinterpret_cast<const uint2*>(from);
      memcpy(&four, &pairs, sizeof(four));
    } else {
      for (int e = 0; e < 4; ++e) four.of[e] = e < left ? from[e] : Bf16{0};
    }
    return four;
  }
  __device__ void write(Bf16* to, int64_t left, bool aligned) const {
    if (aligned) {
      uint2 pairs;
      memcpy(&pairs, this, sizeof(pairs));
      *reinterpret_cast<uint2*>(to) = pairs;
    } else {
      for (int e = 0; e < 4 && e < left; ++e) to[e] = of[e];
    }
  }
  // += bf16(added)
  __device__ void add(const float* added, int64_t left, bool aligned) {
    float values[4] = {};
    if (aligned) {
      const float4 read = *reinterpret_cast<const float4*>(added);
      memcpy(values, &read, sizeof(values));
    } else {
      for (int e = 0; e < 4 && e < left; ++e) values[e] = added[e];
    }
    for (int e = 0; e < 4; ++e) of[e] = round_bf16(widen(of[e]) + widen(round_bf16(values[e])));
  }
};

// Longer rows. A thread keeps what it has read, kRounds fours; or (0) reads any number of them twice.
// Grid: a block a row.
template <int kRounds>
__global__ void __launch_bounds__(kNormThreads) long_norm_kernel(const NormCall c) {
  auto& shared = *dynamic_shared<NormShared>();
  const int64_t row = blockIdx.x, n = c.x.cols;
  const int thread = static_cast<int>(threadIdx.x);
  const bool aligned = c.aligned != 0;
  Bf16 *const from = c.x.data + row * c.x.stride, *const to = c.y.data + row * c.y.stride;
  const float* const added = c.sum.data == nullptr ? nullptr : c.sum.data + row * c.sum.stride;
  const auto place = [&](int round) { return int64_t{round} * 4 * kNormThreads + 4 * thread; };
  const auto read = [&](int64_t i) {
    Four four = Four::read(from + i, n - i, aligned);
    if (added != nullptr) four.add(added + i, n - i, aligned);
    return four;
  };
  float total = 0.0f;
  const auto count = [&](const Four& four) {
    for (int e = 0; e < 4; ++e) total = fused(widen(four.of[e]), widen(four.of[e]), total);
  };
  const auto sum_of_block = [&] {
    total = fold_sum(total);
    if (thread % 32 == 0) shared.warps[thread / 32] = total;
    __syncthreads();  // the warps' sums are there
    total = shared.warps[0];
    for (int warp = 1; warp < kNormThreads / 32; ++warp) total = total + shared.warps[warp];
    return norm_scale(total, n, c.eps);
  };
  const auto write = [&](const Four& four, const Four& weight, float scale, int64_t i) {
    Four result;
    for (int e = 0; e < 4; ++e) result.of[e] = normed(widen(four.of[e]), scale, weight.of[e]);
    result.write(to + i, n - i, aligned);
  };

  let_next_begin();
  if constexpr (kRounds > 0) {
    Four weights[kRounds], kept[kRounds];
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (const int64_t i = place(round); i < n) weights[round] = Four::read(c.weight + i, n - i, aligned);
    wait_for_earlier();
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (const int64_t i = place(round); i < n) kept[round] = read(i);
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int64_t i = place(round);
      if (i >= n) continue;
      count(kept[round]);
      if (added != nullptr) kept[round].write(from + i, n - i, aligned);
    }
    const float scale = sum_of_block();
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
      if (const int64_t i = place(round); i < n) write(kept[round], weights[round], scale, i);
  } else {
    wait_for_earlier();
    for (int round = 0; place(round) < n; ++round) {  // each thread reads below what it writes here
      const int64_t i = place(round);
      const Four four = read(i);
      count(four);
      if (added != nullptr) four.write(from + i, n - i, aligned);
    }
    const float scale = sum_of_block();
    for (int round = 0; place(round) < n; ++round) {
      const int64_t i = place(round);
      write(Four::read(from + i, n - i, aligned), Four::read(c.weight + i, n - i, aligned), scale, i);
    }
  }
}

}  // namespace

void rms_norm(Matrix<uint16_t> y, Matrix<uint16_t> x, Matrix<const float> sum, const uint16_t* weight,
              float eps, Stream& stream) {
  const auto fours = [](const auto* data, int64_t stride) {
    return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(*data)) == 0 && stride % 4 == 0;
  };
  const bool aligned = x.cols % 4 == 0 && fours(x.data, x.stride) && fours(y.data, y.stride) &&
                       fours(weight, 0) && (sum.data == nullptr || fours(sum.data, sum.stride));
  const NormCall call = {y, x, sum, weight, aligned ? 1 : 0, eps};
  const bool is_short = x.cols <= kWarpNorm;
  const double elements = static_cast<double>(x.rows * x.cols);
  const Launch how = {.name = "rms_norm",
                      .grid = dim3(static_cast<unsigned>(x.rows)),
                      .block = dim3(is_short ? 32 : kNormThreads),
                      .shared_bytes = sizeof(NormShared),
                      .stream = stream,
                      .bytes = (sum.data == nullptr ? 4.0 : 10.0) * elements,
                      .flops = 4.0 * elements};
  if (is_short)
    launch(how, short_norm_kernel, call);
  else if (x.cols <= 4 * 4 * kNormThreads)
    launch(how, long_norm_kernel<4>, call);
  else
    launch(how, long_norm_kernel<0>, call);
}

}  // namespace lockstep::cuda
