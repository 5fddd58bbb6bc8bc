// The step's table of rotary cosines and sines, and what follows the q, k, v projection: norm and rotation of
// heads, K and V to their slots in the cache.
//
// Rotation: elements i and i + d / 2 are a pair; a cos - b sin and b cos + a sin, two products and one sum
// each, never fused. Angles: float32 product, then base/math's double sine and cosine, the same source as on
// the CPU. Per token: 4 d bytes of table; heads 4 (Hq + 2 Hkv) d bytes. Floor: the launch in decode, memory
// bandwidth in prefill.
#include "base/math_functions.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/norm.cuh"

namespace lockstep::cuda {
namespace {

// ---- kernels ----

// Grid: a block a token.
__global__ void rope_table_kernel(Matrix<float> table, const int32_t* positions, const float* inv_freq,
                                  float scale) {
  begin_kernel();
  const int64_t half = table.cols / 2;
  float* const row = table.data + int64_t{blockIdx.x} * table.stride;
  const float position = static_cast<float>(positions[blockIdx.x]);
  for (int64_t i = threadIdx.x; i < half; i += blockDim.x) {
    const float angle = position * inv_freq[i];
    const SinCos value = functions::sincos(static_cast<double>(angle));
    row[i] = static_cast<float>(value.cos) * scale;
    row[half + i] = static_cast<float>(value.sin) * scale;
  }
}

// One head of d elements, at most 32 kEach, in place. A warp; `stage` is its own shared memory, [d]. All that it reads
// is asked for at once: it waits for memory one time.
template <int kEach>
__device__ void norm_and_rotate(Bf16* stage, Bf16* head, const Bf16* weight, const float* rope, int d,
                                float eps) {
  const int lane = static_cast<int>(threadIdx.x) % 32, half = d / 2;
  Bf16 x[kEach] = {}, w[kEach];
  float c[kEach / 2], s[kEach / 2];
#pragma unroll
  for (int v = 0; v < kEach; ++v)
    if (const int i = 32 * v + lane; i < d) x[v] = head[i], w[v] = weight[i];
#pragma unroll
  for (int v = 0; v < kEach / 2; ++v)
    if (const int i = 32 * v + lane; i < half) c[v] = rope[i], s[v] = rope[half + i];
  const float scale = norm_scale(sum_of_squares(x), d, eps);
#pragma unroll
  for (int v = 0; v < kEach; ++v)
    if (const int i = 32 * v + lane; i < d) stage[i] = normed(widen(x[v]), scale, w[v]);
  __syncwarp();  // pairs were normed by different lanes
#pragma unroll
  for (int v = 0; v < kEach / 2; ++v) {
    const int i = 32 * v + lane;
    if (i >= half) continue;
    const float a = widen(stage[i]), b = widen(stage[half + i]);
    head[i] = round_bf16(a * c[v] - b * s[v]);
    head[half + i] = round_bf16(b * c[v] + a * s[v]);
  }
  __syncwarp();  // the head is whole, and `stage` free
}

constexpr int kHeadsPerBlock = 4;

// Grid: tokens by fours of heads (query heads, then key-value heads); a warp each.
template <int kEach>
__global__ void __launch_bounds__(32 * kHeadsPerBlock) finish_heads_kernel(const HeadsCall c) {
  begin_kernel();
  const int d = c.cache.head_dim, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  Bf16* const stage = dynamic_shared<Bf16>() + warp * d;
  const int64_t token = blockIdx.x, head = int64_t{blockIdx.y} * kHeadsPerBlock + warp;
  const float* const rope = c.rope.data + token * c.rope.stride;
  if (head < c.query_heads) {
    norm_and_rotate<kEach>(stage, c.q.data + token * c.q.stride + head * d, c.q_norm, rope, d, c.eps);
    return;
  }
  const int64_t slot = c.slots[token], kv_head = head - c.query_heads;
  if (kv_head >= c.cache.kv_heads || slot < 0) return;  // no head; a row that belongs to no sequence
  Bf16* const k = c.kv.data + token * c.kv.stride + kv_head * d;
  norm_and_rotate<kEach>(stage, k, c.k_norm, rope, d, c.eps);
  const Bf16* const v = k + int64_t{c.cache.kv_heads} * d;
  const int64_t to =
      ((slot / kBlockTokens * c.cache.kv_heads + kv_head) * kBlockTokens + slot % kBlockTokens) * d;
  for (int i = lane; i < d; i += 32) {
    c.cache.k[to + i] = k[i];
    c.cache.v[to + i] = v[i];
  }
}

}  // namespace

// ---- launchers ----

void rope_table(Matrix<float> table, const int32_t* positions, const float* inv_freq, float scale,
                Stream& stream) {
  launch({.name = "rope_table",
          .grid = dim3(static_cast<unsigned>(table.rows)),
          .block = dim3(64),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 4.0 * static_cast<double>(table.rows * table.cols),
          .flops = 60.0 * static_cast<double>(table.rows * table.cols)},
         rope_table_kernel, table, positions, inv_freq, scale);
}

void finish_heads(const HeadsCall& call, Stream& stream) {
  const int64_t d = call.cache.head_dim, heads = call.query_heads + call.cache.kv_heads;
  const Launch how = {.name = "finish_heads",
                      .grid = dim3(static_cast<unsigned>(call.q.rows), ceil_div(heads, kHeadsPerBlock)),
                      .block = dim3(32 * kHeadsPerBlock),
                      .shared_bytes = static_cast<size_t>(kHeadsPerBlock * d) * sizeof(Bf16),
                      .stream = stream,
                      .bytes = 4.0 * static_cast<double>(call.q.rows * d * (heads + call.cache.kv_heads)),
                      .flops = 8.0 * static_cast<double>(call.q.rows * d * heads)};
  if (d <= 128)
    launch(how, finish_heads_kernel<4>, call);
  else
    launch(how, finish_heads_kernel<kWarpNorm / 32>, call);
}

}  // namespace lockstep::cuda
