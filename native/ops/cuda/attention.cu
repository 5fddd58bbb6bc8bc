// Causal attention over the paged cache: softmax(q K^T * scale) V, the same arithmetic for one token and for
// a prompt.
//
// Layout of a head's share of a block: K and V [16 keys, d]. A tile is 16 query rows of one sequence and
// key-value head: a few tokens times the query heads of the group. Order, for each row by itself: splits of
// 256 keys by absolute position; score = one chain of mma's over d (padded with zeros to a multiple of 16) *
// scale; m = the largest visible score; p = exp(score - m); l = sum of p, lane i of 32 taking keys 32 v + i,
// folded in halves; o = p * V fused, float32, keys ascending; splits merged ascending into (M, L, O),
// products and sum not fused; at the end O / L. Keys beyond a row's position take no part: their scores are
// masked, their V is not added.
//
// Splits are walked by one block, or by a block each with the results merged by a second kernel: the same
// operations on the same values. Per row and key 4 d FLOPs and one exponential; per key 4 d bytes for the
// rows of a tile. Floor: the cache's bytes in decode; in prefill p V on the float32 units (its tensor-core
// form is to come).
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kSplit = 256;    // = kAttentionSplit
constexpr int kKeys = 32;      // of a slab of K or V in shared memory
constexpr int kThreads = 128;  // a warp for 8 keys of a slab; a thread for a column of V
constexpr int kRows = kAttentionRows;

struct RowState {
  float score[kRows][kSplit];  // becomes p
  float max[kRows], sum[kRows];
  int keys[kRows];  // of the split, that the row sees
  float merged_max[kRows], merged_sum[kRows], old_factor[kRows], new_factor[kRows];
};

// ---- kernels ----

struct Place {  // what a block works on
  AttentionTile tile;
  int head, first_query;  // key-value head; of the tile's tokens x heads, the block's first

  __device__ int queries(int group) const {
    const int left = tile.tokens * group - first_query;
    return left < kRows ? left : kRows;
  }
  __device__ int position(int row, int group) const { return tile.position + (first_query + row) / group; }
};

__device__ Place place_of(const AttentionCall& c) {
  const int chunks = (c.group + kRows - 1) / kRows;  // blocks a tile: more than one only for groups beyond 16
  const int index = static_cast<int>(blockIdx.x);
  return {c.tiles[index / chunks], static_cast<int>(blockIdx.y), index % chunks * kRows};
}

__device__ __forceinline__ int keys_in_split(int position, int split) {
  const int keys = position - split * kSplit + 1;
  return keys < 0 ? 0 : keys < kSplit ? keys : kSplit;
}

// Eight elements of a row of d; zeros beyond it.
__device__ __forceinline__ void load_piece(Bf16* to, const Bf16* row, int element, int d, bool aligned) {
  const int left = d - element, valid = left < 0 ? 0 : left < 8 ? left : 8;
  if (aligned) {
    copy_async_16(to, valid > 0 ? row + element : row, valid * 2);
  } else {
    for (int i = 0; i < 8; ++i) to[i] = i < valid ? row[element + i] : Bf16{0};
  }
}

// Keys [first, first + kKeys) of the sequence, as far as `end`, rows of `pitch` elements.
__device__ void load_keys(Bf16* to, const Bf16* cache, const AttentionCall& c, const Place& place, int first,
                          int end, int pitch) {
  const int d = c.cache.head_dim, pieces = (pitch - 8) / 8;
  const bool aligned = d % 8 == 0;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * pieces; i += kThreads) {
    const int key = i / pieces, piece = i % pieces, position = first + key;
    const bool there = position < end;
    const int64_t block = there ? c.blocks[place.tile.block_offset + position / kBlockTokens] : 0;
    const Bf16* const row =
        cache + ((block * c.cache.kv_heads + place.head) * kBlockTokens + position % kBlockTokens) * d;
    load_piece(to + key * pitch + piece * 8, row, piece * 8, there ? d : 0, aligned);
  }
}

__device__ void load_queries(Bf16* to, const AttentionCall& c, const Place& place, int pitch) {
  const int d = c.cache.head_dim, pieces = (pitch - 8) / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * pieces; i += kThreads) {
    const int row = i / pieces, element = i % pieces * 8;
    const bool there = row < place.queries(c.group);
    const int query = there ? place.first_query + row : 0;
    const int64_t column = (int64_t{place.head} * c.group + query % c.group) * d;
    const Bf16* const from = c.q.data + (place.tile.first_row + query / c.group) * c.q.stride + column;
    for (int e = 0; e < 8; ++e)
      to[row * pitch + element + e] = there && element + e < d ? from[element + e] : Bf16{0};
  }
}

// Scores of the slab's keys: each warp takes 8 of them.
__device__ void score_keys(RowState& state, const Bf16* q, const Bf16* k, int pitch, int first_key,
                           float scale) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  float sums[4] = {};
  for (int element = 0; element + 16 < pitch; element += 16) {
    uint32_t a[4], b[2];
    ldmatrix_x4(a, q + lane % 16 * pitch + element + lane / 16 * 8);
    ldmatrix_x2(b, k + (warp * 8 + lane % 8) * pitch + element + lane / 8 % 2 * 8);
    mma_bf16(sums, a, b);
  }
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, key = first_key + warp * 8 + 2 * (lane % 4) + i % 2;
    state.score[row][key] = sums[i] * scale;
  }
}

// Scores of a row become p; sets its maximum and sum. A warp.
__device__ void softmax_row(RowState& state, int row) {
  const int lane = static_cast<int>(threadIdx.x) % 32, keys = state.keys[row];
  float max = from_bits(0xff800000u);
  for (int key = lane; key < keys; key += 32) {
    const float score = state.score[row][key];
    max = score > max ? score : max;
  }
  max = fold_max(max);
  float sum = 0.0f;
  for (int key = lane; key < keys; key += 32) {
    const float p = exp_own(state.score[row][key] - max);
    state.score[row][key] = p;
    sum = sum + p;
  }
  sum = fold_sum(sum);
  if (lane == 0) state.max[row] = max, state.sum[row] = sum;
}

struct Factors {
  float max, old_factor, new_factor;
};
__device__ __forceinline__ Factors merge_factors(bool first, float old_max, float new_max) {
  if (first) return {new_max, 0.0f, 1.0f};
  const float larger = old_max > new_max ? old_max : new_max;
  return {larger, exp_own(old_max - larger), exp_own(new_max - larger)};
}
__device__ __forceinline__ float merge(bool first, float old_value, float new_value, float old_factor,
                                       float new_factor) {
  return first ? new_value : old_value * old_factor + new_value * new_factor;
}

template <int kColumns>  // of V, a thread
__device__ void add_values(float (&sums)[kColumns][kRows], const RowState& state, const Bf16* v, int pitch,
                           int first_key, int last_key, int d) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int column = static_cast<int>(threadIdx.x) + c * kThreads;
    if (column >= d) return;
    for (int key = first_key; key < last_key; ++key) {
      const float value = widen(v[(key - first_key) * pitch + column]);
#pragma unroll
      for (int row = 0; row < kRows; ++row)
        if (key < state.keys[row]) sums[c][row] = fused(state.score[row][key], value, sums[c][row]);
    }
  }
}

// One split: afterwards `sums` holds o, and the row state m and l, and the split is merged into (M, L).
template <int kColumns>
__device__ __forceinline__ void attend_split(float (&sums)[kColumns][kRows], RowState& state, const Bf16* q,
                                             Bf16* slabs, const AttentionCall& c, const Place& place,
                                             int split, int pitch) {
  const int thread = static_cast<int>(threadIdx.x), d = c.cache.head_dim, queries = place.queries(c.group);
  if (thread < kRows)
    state.keys[thread] = thread < queries ? keys_in_split(place.position(thread, c.group), split) : 0;
  // The last query sees most: what it sees is loaded.
  const int first = split * kSplit, seen = keys_in_split(place.position(queries - 1, c.group), split);
  const int slabs_of_keys = (seen + kKeys - 1) / kKeys;
  for (int col = 0; col < kColumns; ++col)
    for (int row = 0; row < kRows; ++row) sums[col][row] = 0.0f;

  const auto load = [&](int i) {  // K's slabs, then V's
    if (i < 2 * slabs_of_keys) {
      const bool values = i >= slabs_of_keys;
      const int key = (values ? i - slabs_of_keys : i) * kKeys;
      load_keys(slabs + i % 2 * kKeys * pitch, values ? c.cache.v : c.cache.k, c, place, first + key,
                first + seen, pitch);
    }
    commit_copies();
  };
  load(0);
  for (int i = 0; i < 2 * slabs_of_keys; ++i) {
    load(i + 1);
    wait_copies<1>();
    __syncthreads();  // slab i is whole; before the first slab also: keys and queries are there
    const Bf16* const slab = slabs + i % 2 * kKeys * pitch;
    if (i < slabs_of_keys) {
      score_keys(state, q, slab, pitch, i * kKeys, c.scale);
      if (i + 1 == slabs_of_keys) {
        __syncthreads();  // all scores of the split are there
        for (int row = thread / 32; row < kRows; row += kThreads / 32) softmax_row(state, row);
      }
    } else {
      const int key = (i - slabs_of_keys) * kKeys;
      add_values<kColumns>(sums, state, slab, pitch, key, key + kKeys < seen ? key + kKeys : seen, d);
    }
    __syncthreads();  // slab i may be overwritten; after the softmax: p, maxima and sums are there
  }
  wait_copies<0>();
}

__device__ __forceinline__ int64_t partial_size(int d) { return int64_t{kRows} * (d + 2); }

// Grid: tiles (x chunks of heads), key-value heads, 1 or splits (with a workspace).
template <int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns == 1 ? 4 : 1) attention_kernel(const AttentionCall c) {
  begin_kernel();
  const int thread = static_cast<int>(threadIdx.x), d = c.cache.head_dim;
  const int pitch = (d + 15) / 16 * 16 + 8;  // 16 bytes more: ldmatrix's rows lie in other banks
  auto& state = *dynamic_shared<RowState>();
  Bf16* const q = reinterpret_cast<Bf16*>(&state + 1);
  Bf16* const slabs = q + kRows * pitch;
  const Place place = place_of(c);
  const int queries = place.queries(c.group);
  if (queries <= 0) return;
  load_queries(q, c, place, pitch);
  const int last = place.position(queries - 1, c.group) / kSplit;

  float sums[kColumns][kRows];
  if (c.workspace != nullptr) {
    const int split = static_cast<int>(blockIdx.z);
    if (split > last) return;
    attend_split<kColumns>(sums, state, q, slabs, c, place, split, pitch);
    const int64_t index = (int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * gridDim.z + split;
    float* const partial = c.workspace + index * partial_size(d);
    for (int col = 0; col < kColumns; ++col)
      for (int row = 0; row < kRows; ++row)
        if (thread + col * kThreads < d) partial[row * (d + 2) + thread + col * kThreads] = sums[col][row];
    if (thread < kRows) {
      partial[thread * (d + 2) + d] = state.max[thread];
      partial[thread * (d + 2) + d + 1] = state.sum[thread];
    }
    return;
  }

  float merged[kColumns][kRows];
  for (int split = 0; split <= last; ++split) {
    attend_split<kColumns>(sums, state, q, slabs, c, place, split, pitch);
    if (thread < kRows && state.keys[thread] > 0) {
      const Factors f = merge_factors(split == 0, state.merged_max[thread], state.max[thread]);
      state.merged_max[thread] = f.max;
      state.old_factor[thread] = f.old_factor;
      state.new_factor[thread] = f.new_factor;
      state.merged_sum[thread] =
          merge(split == 0, state.merged_sum[thread], state.sum[thread], f.old_factor, f.new_factor);
    }
    __syncthreads();  // the factors are there
#pragma unroll
    for (int col = 0; col < kColumns; ++col)
#pragma unroll
      for (int row = 0; row < kRows; ++row)
        if (state.keys[row] > 0)
          merged[col][row] = merge(split == 0, merged[col][row], sums[col][row], state.old_factor[row],
                                   state.new_factor[row]);
    __syncthreads();  // keys and factors may be overwritten
  }
#pragma unroll
  for (int col = 0; col < kColumns; ++col) {
    const int column = thread + col * kThreads;
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      if (row >= queries || column >= d) continue;
      const int query = place.first_query + row;
      c.y.data[(place.tile.first_row + query / c.group) * c.y.stride +
               (int64_t{place.head} * c.group + query % c.group) * d + column] =
          round_bf16(merged[col][row] / state.merged_sum[row]);
    }
  }
}

// The splits' results merged ascending. Grid as attention_kernel's, without the splits.
__global__ void __launch_bounds__(kThreads) merge_splits_kernel(const AttentionCall c, int splits) {
  begin_kernel();
  const int d = c.cache.head_dim;
  const Place place = place_of(c);
  const int queries = place.queries(c.group);
  const float* const partials =
      c.workspace + (int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * splits * partial_size(d);
  for (int row = 0; row < queries; ++row) {
    const int query = place.first_query + row, last = place.position(row, c.group) / kSplit;
    for (int column = static_cast<int>(threadIdx.x); column < d; column += kThreads) {
      float max = 0, sum = 0, output = 0;
      for (int split = 0; split <= last; ++split) {
        const float* const one = partials + split * partial_size(d) + row * (d + 2);
        const Factors f = merge_factors(split == 0, max, one[d]);
        max = f.max;
        sum = merge(split == 0, sum, one[d + 1], f.old_factor, f.new_factor);
        output = merge(split == 0, output, one[column], f.old_factor, f.new_factor);
      }
      c.y.data[(place.tile.first_row + query / c.group) * c.y.stride +
               (int64_t{place.head} * c.group + query % c.group) * d + column] = round_bf16(output / sum);
    }
  }
}

// ---- launchers ----

template <int kColumns>
void launch_attention(const AttentionCall& c, double keys, Stream& stream) {
  const int d = c.cache.head_dim, pitch = (d + 15) / 16 * 16 + 8;
  const unsigned blocks = static_cast<unsigned>(c.tile_count * ((c.group + kRows - 1) / kRows));
  const unsigned heads = static_cast<unsigned>(c.cache.kv_heads);
  const unsigned splits = c.workspace == nullptr ? 1u : static_cast<unsigned>(c.max_splits);
  launch({.name = "attention",
          .grid = dim3(blocks, heads, splits),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(RowState) + static_cast<size_t>((kRows + 2 * kKeys) * pitch) * sizeof(Bf16),
          .stream = stream,
          .bytes = 4.0 * keys * d * c.cache.kv_heads,
          .flops = 4.0 * keys * d * kRows * c.cache.kv_heads},
         attention_kernel<kColumns>, c);
  if (c.workspace == nullptr) return;
  launch({.name = "merge_splits",
          .grid = dim3(blocks, heads),
          .block = dim3(kThreads),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 4.0 * static_cast<double>(blocks * heads * splits) * kRows * (d + 2),
          .flops = 0},
         merge_splits_kernel, c, static_cast<int>(splits));
}

}  // namespace

int64_t attention_workspace(int64_t partials, int32_t head_dim) {
  return partials * kAttentionRows * (head_dim + 2);
}

void attention(const AttentionCall& call, double keys, Stream& stream) {
  if (call.cache.head_dim <= kThreads)
    launch_attention<1>(call, keys, stream);
  else if (call.cache.head_dim <= 2 * kThreads)
    launch_attention<2>(call, keys, stream);
  else
    launch_attention<4>(call, keys, stream);
}

}  // namespace lockstep::cuda
