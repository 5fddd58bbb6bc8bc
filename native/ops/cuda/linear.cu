// Linear layers: y = x W^T for every number of tokens, one family of tiles over one order of K.
//
// Weights are the row operand of mma.sync m16n8k16, tokens the column operand. Order along K, whatever the
// tile: K in `parts` equal parts; a part in slabs of 64 elements (the last one padded with zeros); its slabs
// in 4 slices of consecutive ones, slice s taking [S s / 4, S (s + 1) / 4); a slice is one chain of mma's
// over k ascending; slices are added ascending in float32, then parts. So the order is a function of K and
// parts alone: decode gives each slice a warp of its own, prefill walks the slices one after the other, and
// linear_sm90.cu does so with wgmma, whose chains have the same bits.
//
// Layout: W [N, K] and x [T, K] as stored, K contiguous. In shared memory a slab's row is 128 bytes, its
// 16-byte pieces permuted by piece ^ (row % 8), so that ldmatrix meets no bank twice. Per call: 2 N K bytes
// of weights (read once for T <= 64), 2 T N K FLOPs. Floor: memory bandwidth up to about T = 200 on an H100,
// then the BF16 mma.sync peak. Between the two it is the traffic from L2 that a tile's size decides on:
// 2 K (N per tile of tokens + T per tile of rows) bytes (docs/decisions/0014-cuda-tiles.md).
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/linear.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kMostSplitWarps = 8;  // of a tile whose parts may have blocks of their own

// ---- kernels ----

// Tile: kRowWarps * kRowTiles * 16 weight rows by kTokenWarps * kTokenTiles * 8 tokens. kSliceWarps is 1 (all
// warps walk all slices together) or 4 times the parts (a warp per slice of a part, and each walks its own).
// kStages: slabs in flight or in use.
template <int kRowWarps_, int kTokenWarps_, int kSliceWarps_, int kRowTiles_, int kTokenTiles_, int kStages_>
struct Tile {
  static constexpr int kRowWarps = kRowWarps_, kTokenWarps = kTokenWarps_, kSliceWarps = kSliceWarps_;
  static constexpr int kRowTiles = kRowTiles_, kTokenTiles = kTokenTiles_, kStages = kStages_;
  static constexpr int kRows = kRowWarps * kRowTiles * 16, kTokens = kTokenWarps * kTokenTiles * 8;
  static constexpr int kThreads = 32 * kRowWarps * kTokenWarps * kSliceWarps;
  // On a multiprocessor at once: what shared memory allows.
  static constexpr int kBlocks = kSliceWarps == 1 ? 1 : 16 / kSliceWarps;
  static constexpr int kGroupThreads = kThreads / kSliceWarps;  // load and walk together
  static_assert(kSliceWarps > 1 || kThreads <= 32 * kMostSplitWarps);
  static_assert(kSliceWarps == 1 || (kSliceWarps % kSlices == 0 && kRowWarps * kTokenWarps == 1));

  struct Shared {
    Bf16 slabs[kStages][kSliceWarps][kRows + kTokens][kSlab];
    float sums[kSliceWarps][kSliceWarps == 1 ? 1 : kRows]
              [kSliceWarps == 1 ? 1 : kTokens];  // a slice's, where warps hold them
  };
};

template <Output kOutput>
__device__ const Bf16* weight_row(const LinearCall& c, int64_t row) {
  if constexpr (kOutput == Output::kGateUp) {
    const LinearCall::Rows& from = c.rows[row / 8 % 2];
    const int64_t feature = row / 16 * 8 + row % 8;
    return feature < from.rows ? from.w + feature * from.stride : nullptr;
  } else {
    for (const LinearCall::Rows& from : c.rows) {
      if (row < from.rows) return from.w + row * from.stride;
      row -= from.rows;
    }
    return nullptr;
  }
}

// Which rows of a slab: those of W, which no kernel before writes; those of x; both.
enum class Load { kWeights, kTokens, kBoth };

// One thread's share of every slab: 16 bytes of each of a few rows, whose addresses are found once.
template <class T, Output kOutput>
class Loader {
 public:
  __device__ Loader(const LinearCall& c, int64_t first_row, int64_t first_token, int thread)
      : row_(thread / 8), piece_(thread % 8), aligned_(c.aligned != 0), somewhere_(c.x) {
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int row = row_of(i);
      const Bf16* from = nullptr;
      if (row < T::kRows)
        from = weight_row<kOutput>(c, first_row + row);
      else if (first_token + row - T::kRows < c.tokens)
        from = c.x + (first_token + row - T::kRows) * c.x_stride;
      there_ |= (from == nullptr ? 0u : 1u) << i;
      rows_[i] = from == nullptr ? c.x : from;
    }
  }

  template <Load kLoad>
  __device__ void load(Bf16 (&slab)[T::kRows + T::kTokens][kSlab], const Walk& walk) const {
    const int k = walk.k_begin() + piece_ * 8, k_end = walk.k_end();
    const bool whole = aligned_ && walk.k_begin() + kSlab <= k_end;
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int row = row_of(i);
      if (kLoad == Load::kWeights && i * kStep >= T::kRows) continue;
      if (kLoad == Load::kTokens && i * kStep < T::kRows) continue;
      Bf16* const to = &slab[row][(piece_ ^ (row % 8)) * 8];
      const bool there = (there_ >> i & 1u) != 0;
      if (whole)
        copy_async_16(to, rows_[i] + k, there ? 16 : 0);
      else
        load_piece(to, there ? rows_[i] : nullptr, k, k_end, aligned_, somewhere_);
    }
  }

 private:
  static constexpr int kStep = T::kGroupThreads / 8;  // rows that the group loads at once
  static constexpr int kShare = (T::kRows + T::kTokens) / kStep;
  static_assert(T::kRows % kStep == 0 && T::kTokens % kStep == 0 && kShare <= 32);
  __device__ int row_of(int i) const { return row_ + i * kStep; }

  int row_, piece_;
  bool aligned_;
  const Bf16* somewhere_;
  uint32_t there_ = 0;  // bit i: row i is one; zeros are loaded for others
  const Bf16* rows_[kShare];
};

template <class T>
using Sums = float[T::kRowTiles][T::kTokenTiles][4];

template <class T>
__device__ __forceinline__ void multiply_slab(Sums<T>& sums, const Bf16 (&slab)[T::kRows + T::kTokens][kSlab],
                                              int row_warp, int token_warp, int lane) {
#pragma unroll
  for (int step = 0; step < kSlab / 16; ++step) {
    uint32_t a[T::kRowTiles][4];
#pragma unroll
    for (int m = 0; m < T::kRowTiles; ++m) {
      const int row = (row_warp * T::kRowTiles + m) * 16 + lane % 16;
      ldmatrix_x4(a[m], &slab[row][((2 * step + lane / 16) ^ (row % 8)) * 8]);
    }
#pragma unroll
    for (int n = 0; n < T::kTokenTiles; n += 2) {
      const int first = T::kRows + (token_warp * T::kTokenTiles + n) * 8;
      if constexpr (T::kTokenTiles == 1) {
        const int row = first + lane % 8;
        uint32_t b[2];
        ldmatrix_x2(b, &slab[row][((2 * step + lane / 8 % 2) ^ (row % 8)) * 8]);
        mma_bf16(sums[0][n], a[0], b);
      } else {
        const int row = first + lane / 16 * 8 + lane % 8;
        uint32_t b[4];
        ldmatrix_x4(b, &slab[row][((2 * step + lane / 8 % 2) ^ (row % 8)) * 8]);
#pragma unroll
        for (int m = 0; m < T::kRowTiles; ++m) {
          mma_bf16(sums[m][n], a[m], {b[0], b[1]});
          mma_bf16(sums[m][n + 1], a[m], {b[2], b[3]});
        }
      }
    }
  }
}

// A part's sums from registers. `add`: to what is there.
template <class T, Output kOutput>
__device__ void store_sums(const LinearCall& c, const Sums<T>& sums, bool add, int64_t first_row,
                           int64_t first_token, int lane) {
#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < T::kTokenTiles; ++n) {
      const int64_t row = first_row + m * 16 + lane / 4, token = first_token + n * 8 + 2 * (lane % 4);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if constexpr (kOutput == Output::kGateUp) {
          store_gate_up(c, token + i, row / 16 * 8 + row % 8, sums[m][n][i], sums[m][n][2 + i]);
        } else {
          store<kOutput>(c, token + i, row, add, sums[m][n][i]);
          store<kOutput>(c, token + i, row + 8, add, sums[m][n][2 + i]);
        }
      }
    }
  }
}

// Two warps, of the two blocks that share a tile, have sums of a part each for the same outputs. Whoever comes first
// stores them; the other waits until they are there and adds its own: a + b is b + a, bit for bit. Nobody waits for
// a block that has not begun. `word` is 0 before and after.
template <class Store>
__device__ __forceinline__ void store_both(uint32_t* word, int lane, Store store) {
  constexpr uint32_t kClaimed = 1, kStored = 2;
  const bool second = __shfl_sync(kAllLanes, lane == 0 ? atomicOr(word, kClaimed) : 0u, 0) != 0;
  if (second && lane == 0)
    while ((acquire_device(word) & kStored) == 0) rest();
  __syncwarp();  // what the first has stored is there for all lanes
  store(second);
  __syncwarp();  // what this warp stores is there for whom lane 0 tells
  if (lane == 0) release_device(word, second ? 0 : kStored);
}

// A part's sum from the slices' in shared memory, ascending.
template <class T>
__device__ float add_slices(const typename T::Shared& shared, const LinearCall& c, int part, int row,
                            int token) {
  const int slabs = static_cast<int>((c.k / c.parts + kSlab - 1) / kSlab);
  float sum = 0.0f;
  bool first = true;
  for (int slice = 0; slice < kSlices; ++slice) {
    if (slabs * slice / kSlices == slabs * (slice + 1) / kSlices) continue;  // it has no slab
    const float value = shared.sums[part * kSlices + slice][row][token];
    sum = first ? value : sum + value;
    first = false;
  }
  return sum;
}

template <class T, Output kOutput>
__device__ void store_slices(const typename T::Shared& shared, const LinearCall& c, int64_t first_row,
                             int64_t first_token, int thread) {
  constexpr int kRows = kOutput == Output::kGateUp ? T::kRows / 2 : T::kRows;
  for (int i = thread; i < kRows * T::kTokens; i += T::kThreads) {
    const int row = i % kRows, token = i / kRows;
    if constexpr (kOutput == Output::kGateUp) {
      const int tile_row = row / 8 * 16 + row % 8;
      store_gate_up(c, first_token + token, first_row / 2 + row, add_slices<T>(shared, c, 0, tile_row, token),
                    add_slices<T>(shared, c, 0, tile_row + 8, token));
    } else {
      for (int part = 0; part < c.parts; ++part)
        store<kOutput>(c, first_token + token, first_row + row, part > 0,
                       add_slices<T>(shared, c, part, row, token));
    }
  }
}

template <class T>
__device__ __forceinline__ void clear(Sums<T>& sums) {
#pragma unroll
  for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
    for (int n = 0; n < T::kTokenTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0f;
}

// Grid: tiles of tokens by tiles of rows (blocks that run together share weights), by parts where they have blocks
// of their own.
template <class T, Output kOutput>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks) linear_kernel(const LinearCall c) {
  auto& shared = *dynamic_shared<typename T::Shared>();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int slice_warp = T::kSliceWarps == 1 ? 0 : warp;
  const int row_warp = T::kSliceWarps == 1 ? warp % T::kRowWarps : 0;
  const int token_warp = T::kSliceWarps == 1 ? warp / T::kRowWarps : 0;
  const int group_thread = T::kSliceWarps == 1 ? thread : lane;
  const int64_t first_row = int64_t{blockIdx.y} * T::kRows, first_token = int64_t{blockIdx.x} * T::kTokens;
  const auto group_barrier = [] {
    if constexpr (T::kSliceWarps == 1)
      __syncthreads();
    else
      __syncwarp();
  };

  constexpr int kStages = T::kStages;
  const int slices = T::kSliceWarps == 1 ? c.parts * kSlices / static_cast<int>(gridDim.z) : 1;
  Walk ahead(c, T::kSliceWarps == 1 ? static_cast<int>(blockIdx.z) * slices : slice_warp, slices);
  Walk here = ahead;
  // The first slabs' weights come while earlier kernels still run: they are no results of theirs.
  let_next_begin();
  const Loader<T, kOutput> loader(c, first_row, first_token, group_thread);
  Walk start = ahead;
  for (int stage = 0; stage + 1 < kStages && !start.done(); ++stage, start.next())
    loader.template load<Load::kWeights>(shared.slabs[stage][slice_warp], start);
  wait_for_earlier();
  for (int stage = 0; stage + 1 < kStages; ++stage) {
    if (!ahead.done()) {
      loader.template load<Load::kTokens>(shared.slabs[stage][slice_warp], ahead);
      ahead.next();
    }
    commit_copies();
  }
  int loading = kStages - 1;  // the stage that `ahead` goes to
  const auto load_next = [&] {
    if (!ahead.done()) {
      loader.template load<Load::kBoth>(shared.slabs[loading][slice_warp], ahead);
      ahead.next();
    }
    loading = loading + 1 == kStages ? 0 : loading + 1;
    commit_copies();  // an empty group where nothing is left, so that the count stays the stage's
  };

  Sums<T> sums, total;
  clear<T>(sums);
  bool first_slice = true;
  for (int stage = 0; !here.done(); stage = stage + 1 == kStages ? 0 : stage + 1) {
    wait_copies<kStages - 2>();
    group_barrier();  // every thread's share of this slab is there, and the slab before is no longer read
    load_next();
    multiply_slab<T>(sums, shared.slabs[stage][slice_warp], row_warp, token_warp, lane);
    const bool slice_ends = here.last_of_slice();
    const int part = here.part(), slice = here.slice;
    here.next();
    if (!slice_ends) continue;
    if constexpr (T::kSliceWarps == 1) {
#pragma unroll
      for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < T::kTokenTiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            total[m][n][i] = first_slice ? sums[m][n][i] : total[m][n][i] + sums[m][n][i];
      first_slice = here.done() || here.part() != part;
      if (first_slice) {
        const auto store = [&](bool add) {
          store_sums<T, kOutput>(c, total, add, first_row + row_warp * T::kRowTiles * 16,
                                 first_token + token_warp * T::kTokenTiles * 8, lane);
        };
        if (gridDim.z == 1)
          store(part > 0);
        else
          store_both(c.words + (blockIdx.y * gridDim.x + blockIdx.x) * (T::kThreads / 32) + warp, lane,
                     store);
      }
    } else {
#pragma unroll
      for (int m = 0; m < T::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < T::kTokenTiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            shared.sums[slice][m * 16 + lane / 4 + i / 2 * 8][n * 8 + 2 * (lane % 4) + i % 2] = sums[m][n][i];
    }
    clear<T>(sums);
  }
  wait_copies<0>();
  if constexpr (T::kSliceWarps != 1) {
    __syncthreads();  // all slices are in shared.sums
    store_slices<T, kOutput>(shared, c, first_row, first_token, thread);
  }
}

// ---- launchers ----

constexpr const char* kNames[] = {"linear", "linear_rounded", "linear_gate_up"};  // by Output

// Tiles of two parts, up to which each part of a tile has a block of its own.
int64_t most_split_tiles(const Stream& stream) { return int64_t{2} * stream.multiprocessors(); }

template <class T>
int64_t count_tiles(const LinearCall& c, int64_t rows) {
  return int64_t{ceil_div(c.tokens, T::kTokens)} * ceil_div(rows, T::kRows);
}

template <class T, Output kOutput>
void launch_tile(const LinearCall& c, int64_t rows, Stream& stream) {
  const bool split = T::kSliceWarps == 1 && kOutput == Output::kFloat && c.parts == 2 && c.words != nullptr &&
                     count_tiles<T>(c, rows) <= most_split_tiles(stream);
  launch({.name = kNames[static_cast<int>(kOutput)],
          .grid = dim3(ceil_div(c.tokens, T::kTokens), ceil_div(rows, T::kRows), split ? 2 : 1),
          .block = dim3(T::kThreads),
          .shared_bytes = sizeof(typename T::Shared),
          .stream = stream,
          .bytes = 2.0 * static_cast<double>(c.k) * static_cast<double>(rows + c.tokens),
          .flops = 2.0 * static_cast<double>(c.k) * static_cast<double>(rows) * static_cast<double>(c.tokens),
          .weight_rows = rows,
          .weight_cols = c.k},
         linear_kernel<T, kOutput>, c);
}

template <class T>
bool fits(const Stream& stream) {
  return sizeof(typename T::Shared) <= stream.most_shared_bytes();
}

// Few tokens: a warp for every slice of every part. False where the device lacks the shared memory.
template <Output kOutput, int kTokenTiles, int kStages>
bool launch_slices(const LinearCall& c, int64_t rows, Stream& stream) {
  using Slices = Tile<1, 1, kSlices, 1, kTokenTiles, kStages>;
  using SlicesOfTwo = Tile<1, 1, 2 * kSlices, 1, kTokenTiles, kStages>;
  if constexpr (kOutput == Output::kFloat)  // the others have one part
    if (c.parts == 2)
      return fits<SlicesOfTwo>(stream) && (launch_tile<SlicesOfTwo, kOutput>(c, rows, stream), true);
  return fits<Slices>(stream) && (launch_tile<Slices, kOutput>(c, rows, stream), true);
}

template <Output kOutput>
bool launch_few(const LinearCall& c, int64_t rows, Stream& stream) {
  // Deeper where all blocks run at once, shallower where more of them fit: an H200 said so.
  const bool at_once = rows <= (c.parts == 2 ? 32 : 64) * stream.multiprocessors();
  if (c.tokens <= 8 && at_once && launch_slices<kOutput, 1, 4>(c, rows, stream)) return true;
  if (c.tokens <= 8) return launch_slices<kOutput, 1, 3>(c, rows, stream);
  return c.tokens <= 16 && launch_slices<kOutput, 2, 3>(c, rows, stream);
}

// The tile follows from the call's sizes and the device's; no tile changes a bit. The larger it is, the less crosses
// from L2, so large ones are taken where half the multiprocessors or more get one (docs/decisions/0014-cuda-tiles.md).
template <Output kOutput>
void launch_linear(const LinearCall& c, Stream& stream) {
  using Small = Tile<4, 1, 1, 1, 4, 6>;   // 64 rows, 32 tokens
  using Middle = Tile<2, 2, 1, 2, 4, 4>;  // 64, 64
  using Large = Tile<4, 2, 1, 2, 6, 3>;   // 128, 96
  int64_t rows = 0;
  if constexpr (kOutput == Output::kGateUp)
    rows = (c.rows[0].rows + 7) / 8 * 16;
  else
    for (const LinearCall::Rows& one : c.rows) rows += one.rows;
  if (launch_few<kOutput>(c, rows, stream)) return;
  if (c.tokens > 256 && linear_sm90(c, kOutput, rows, stream)) return;
  if (c.tokens <= 32)
    launch_tile<Small, kOutput>(c, rows, stream);
  else if (c.tokens <= 64 || count_tiles<Large>(c, rows) * c.parts < stream.multiprocessors() / 2)
    launch_tile<Middle, kOutput>(c, rows, stream);
  else
    launch_tile<Large, kOutput>(c, rows, stream);
}

}  // namespace

size_t linear_words(const Stream& stream) {
  return static_cast<size_t>(most_split_tiles(stream)) * kMostSplitWarps;
}

void linear(const LinearCall& call, Stream& stream) { launch_linear<Output::kFloat>(call, stream); }
void linear_rounded(const LinearCall& call, Stream& stream) { launch_linear<Output::kBf16>(call, stream); }
void linear_gate_up(const LinearCall& call, Stream& stream) { launch_linear<Output::kGateUp>(call, stream); }

}  // namespace lockstep::cuda
