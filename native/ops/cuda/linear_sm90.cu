// Linear layers of many tokens on Hopper: the order of linear.cu by wgmma m64n160k16 (sm_90a), the bits of
// mma.sync's chains (seen on an H200; tests/gpu and bench/cuda/kernels.cu compare them).
//
// A block has a tile of 128 weight rows by kTokens tokens and three warpgroups: one loads slabs by cp.async, as
// far ahead as there are stages; two multiply, 64 rows each. Full and empty stages are told by barriers in
// shared memory. Per call: 2 N K bytes of weights once for every 132 blocks or so that run together, 2 T N K
// FLOPs. Floor: the BF16 wgmma peak.
#include "ops/cuda/launch.h"
#include "ops/cuda/linear.cuh"

#ifdef __CUDACC__
#include "ops/cuda/wgmma.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kRows = 128, kGroupRows = 64;
constexpr int kTokens = 160;  // as many as registers hold, twice: a slice's sums and the total
constexpr int kGroup = 128;   // threads of a warpgroup
constexpr int kThreads = 3 * kGroup;

constexpr int kStages = 5;  // slabs in flight or in use

struct Shared {
  Bf16 slabs[kStages][kRows + kTokens][kSlab];  // from a multiple of 1,024 bytes on
  uint64_t full[kStages], empty[kStages];
};

constexpr int kTiles = kTokens / 8;
using Sums = float[kTiles][4];

// ---- kernels ----

// The weights that a thread loads of a tile: its first row and every 16th after it; of one matrix, or of gate and
// up in turns of eight.
template <Output kOutput>
struct Weights {
  const Bf16* first;
  int64_t step;  // elements to the next one
  int rows;      // of the tile from the first one on; those at or beyond are none

  __device__ Weights(const LinearCall& c, int64_t first_row, int row) {
    if constexpr (kOutput == Output::kGateUp) {
      const LinearCall::Rows& from = c.rows[row / 8 % 2];
      const int64_t feature = first_row / 2 + row % 8;
      first = from.w + feature * from.stride, step = 8 * from.stride;
      rows = static_cast<int>(from.rows - feature) * 2;
    } else {
      int matrix = 0;
      while (matrix < 2 && first_row >= c.rows[matrix].rows) first_row -= c.rows[matrix++].rows;
      const LinearCall::Rows& from = c.rows[matrix];
      first = from.w + (first_row + row) * from.stride, step = 16 * from.stride;
      rows = static_cast<int>(from.rows - first_row - row);
    }
  }
};

template <Output kOutput>
__device__ void load_slabs(Shared& shared, const LinearCall& c, int64_t first_row, int64_t first_token,
                           int thread) {
  // A stage is given back when the slab after it is being multiplied, so that one must have been told of before
  // its place is waited for.
  constexpr int kAhead = kStages - 2;
  constexpr int kStep = kGroup / 8;  // rows that the group loads at once
  const int row = thread / 8, piece = thread % 8, swizzled = (piece ^ (row % 8)) * 8;
  const Weights<kOutput> weights(c, first_row, row);
  const Bf16* const x = c.x + (first_token + row) * c.x_stride;
  const int64_t x_step = kStep * c.x_stride;
  const int tokens = static_cast<int>(c.tokens - first_token) - row;
  Walk walk(c, 0, c.parts * kSlices);
  int loaded = 0;
  const auto tell = [&](int slab) {  // this thread's share of it has landed
    fence_for_wgmma();
    barrier_arrive(&shared.full[slab % kStages]);
  };
  for (; !walk.done(); walk.next(), ++loaded) {
    const int stage = loaded % kStages;
    if (loaded >= kStages) barrier_wait(&shared.empty[stage], (loaded / kStages - 1) % 2);
    const int k = walk.k_begin() + piece * 8, k_end = walk.k_end();
    Bf16* to = &shared.slabs[stage][row][swizzled];  // every kStep rows the swizzle is the same
    if (walk.k_begin() + kSlab <= k_end) {
      const Bf16* from = weights.first + k;
#pragma unroll 4
      for (int r = 0; r < kRows; r += kStep, to += kStep * kSlab, from += weights.step)
        copy_async_16(to, from, r < weights.rows ? 16 : 0);
      from = x + k;
#pragma unroll 4
      for (int r = 0; r < kTokens; r += kStep, to += kStep * kSlab, from += x_step)
        copy_async_16(to, from, r < tokens ? 16 : 0);
    } else {  // the end of a part
      const Bf16* from = weights.first;
      for (int r = 0; r < kRows; r += kStep, to += kStep * kSlab, from += weights.step)
        load_piece(to, r < weights.rows ? from : nullptr, k, k_end, true, c.x);
      from = x;
      for (int r = 0; r < kTokens; r += kStep, to += kStep * kSlab, from += x_step)
        load_piece(to, r < tokens ? from : nullptr, k, k_end, true, c.x);
    }
    commit_copies();
    wait_copies<kAhead>();
    if (loaded >= kAhead) tell(loaded - kAhead);
  }
  wait_copies<0>();
  for (int slab = loaded < kAhead ? 0 : loaded - kAhead; slab < loaded; ++slab) tell(slab);
}

template <Output kOutput>
__device__ void store_tile(const LinearCall& c, const Sums& sums, bool add, int64_t first_row,
                           int64_t first_token, int lane) {
  const int64_t row = first_row + lane / 4;
  int64_t token = first_token + 2 * (lane % 4);
#pragma unroll
  for (int n = 0; n < kTiles; ++n, token += 8) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (kOutput == Output::kGateUp) {
        store_gate_up(c, token + i, row / 16 * 8 + row % 8, sums[n][i], sums[n][2 + i]);
      } else {
        store<kOutput>(c, token + i, row, add, sums[n][i]);
        store<kOutput>(c, token + i, row + 8, add, sums[n][2 + i]);
      }
    }
  }
}

template <Output kOutput>
__device__ void multiply_slabs(Shared& shared, const LinearCall& c, int64_t first_row, int64_t first_token,
                               int group, int thread) {
  Sums sums, total;
  bool first_slice = true;
  int slab = 0;
  const auto give_back = [&](int of_slab) {
    if (thread % 32 == 0) barrier_arrive(&shared.empty[of_slab % kStages]);
  };
  for (Walk walk(c, 0, c.parts * kSlices); !walk.done();) {
    const int part = walk.part(), end = slab + walk.slab_end - walk.slab;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    wgmma_fence();
    for (int first = slab; slab < end; ++slab) {
      const int stage = slab % kStages;
      barrier_wait(&shared.full[stage], slab / kStages % 2);
      const uint32_t a = shared_address(&shared.slabs[stage][group * kGroupRows][0]);
      const uint32_t b = shared_address(&shared.slabs[stage][kRows][0]);
#pragma unroll
      for (int step = 0; step < kSlab / 16; ++step)
        wgmma_bf16(sums, slab_descriptor(a + step * 32), slab_descriptor(b + step * 32));
      wgmma_commit();
      wgmma_wait<1>();
      if (slab > first) give_back(slab - 1);
    }
    wgmma_wait<0>();
    give_back(end - 1);
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) total[n][i] = first_slice ? sums[n][i] : total[n][i] + sums[n][i];
    walk.next_slice();
    first_slice = walk.done() || walk.part() != part;
    if (first_slice)
      store_tile<kOutput>(c, total, part > 0, first_row + group * kGroupRows + thread / 32 * 16, first_token,
                          thread % 32);
  }
}

// Grid: tiles of tokens by tiles of rows.
template <Output kOutput>
__global__ void __launch_bounds__(kThreads, 1) linear_sm90_kernel(const LinearCall c) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  auto& shared = *dynamic_shared<Shared>();
  const int thread = static_cast<int>(threadIdx.x), group = thread / kGroup;
  const int64_t first_row = int64_t{blockIdx.y} * kRows, first_token = int64_t{blockIdx.x} * kTokens;
  if (thread == 0)
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(&shared.full[stage], kGroup);
      barrier_init(&shared.empty[stage], 2 * kGroup / 32);  // a lane of each warp that multiplies
    }
  __syncthreads();  // the barriers are there
  begin_kernel();
  if (group == 2) {
    keep_registers<64>();
    load_slabs<kOutput>(shared, c, first_row, first_token, thread % kGroup);
  } else {
    take_registers<216>();
    multiply_slabs<kOutput>(shared, c, first_row, first_token, group, thread % kGroup);
  }
#endif
}

// ---- launchers ----

template <Output kOutput>
bool launch_tiles(const LinearCall& c, int64_t rows, Stream& stream) {
  launch({.name = "linear_sm90",
          .grid = dim3(ceil_div(c.tokens, kTokens), ceil_div(rows, kRows)),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(Shared),
          .stream = stream,
          .bytes = 2.0 * static_cast<double>(c.k) * static_cast<double>(rows + c.tokens),
          .flops = 2.0 * static_cast<double>(c.k) * static_cast<double>(rows) * static_cast<double>(c.tokens),
          .weight_rows = rows,
          .weight_cols = c.k},
         linear_sm90_kernel<kOutput>, c);
  return true;
}

}  // namespace

bool linear_sm90(const LinearCall& c, Output output, int64_t rows, Stream& stream) {
  if (!stream.has_wgmma() || c.aligned == 0) return false;
  if (output == Output::kFloat) return launch_tiles<Output::kFloat>(c, rows, stream);
  if (output == Output::kGateUp) return launch_tiles<Output::kGateUp>(c, rows, stream);
  // A tile has rows of one matrix.
  if (c.rows[0].rows % kRows != 0 || c.rows[1].rows % kRows != 0) return false;
  return launch_tiles<Output::kBf16>(c, rows, stream);
}

}  // namespace lockstep::cuda
#else  // on the CPU
namespace lockstep::cuda {
bool linear_sm90(const LinearCall&, Output, int64_t, Stream&) { return false; }
}  // namespace lockstep::cuda
#endif
