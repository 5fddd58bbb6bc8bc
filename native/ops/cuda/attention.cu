// Causal attention over the paged cache: softmax(q K^T * scale) V, the same arithmetic for one token and for
// a prompt.
//
// Layout of a head's share of a block: K and V [16 keys, d]. Order, for each row (a token and a query head) by
// itself: splits of 256 keys by absolute position, of slabs of 64. A slab: score = one chain of mma's over d
// (padded with zeros to a multiple of 16) * scale; m' = the largest score so far, p = exp(score - m'), a =
// exp(m - m'); l = l a + sum of p; o = o a, then o goes on as a chain of mma's over the keys, 16 at a time: the
// BF16 part of p, then the BF16 part of the rest. Sum of p: 16 keys at a time, lane t of 4 taking keys 2t, 2t +
// 1, 8 + 2t, 9 + 2t, folded; then ascending. Splits are merged ascending into (M, L, O), products and sum not
// fused; at the end O / L. Keys beyond a row's position take no part: p is 0, and V that is not finite there is
// set to 0 (where a row does see it, its l becomes NaN).
//
// Narrow tiles (decoding, or a head_dim beyond 128): 16 rows, whose keys and then columns the warps share; with
// a workspace each split has a block and the results are merged by a second kernel. Wide tiles (prompts): 64
// rows, 16 to each warp. The operations and their order are the same.
//
// Per row and key 6 d FLOPs and one exponential; per key 4 d bytes for the rows of a tile. Floor: the cache's
// bytes in decode, the BF16 mma rate in prefill.
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kSplit = 256;  // = kAttentionSplit
constexpr int kKeys = 64;    // of a slab
constexpr int kSteps = kKeys / 16;
constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kPitchOfP = kKeys + 8;  // 16 bytes more than a row: ldmatrix's rows lie in other banks

__device__ __forceinline__ float minus_infinity() { return from_bits(0xff800000u); }

// kColumnTiles: of 8 columns of V, a warp. kHeadDim: d, or 0 for any that so many columns hold.
template <bool kWide_, int kColumnTiles_, int kHeadDim_>
struct Shape {
  static constexpr bool kWide = kWide_;
  static constexpr int kColumnTiles = kColumnTiles_, kHeadDim = kHeadDim_;
  static constexpr int kStages = kColumnTiles_ > 4 && !kWide_ ? 1 : 2;  // slabs in flight or in use
  static constexpr int kRows = kWide ? kWideRows : kNarrowRows;
  static constexpr int kScoreTiles = kWide ? kKeys / 8 : kKeys / 8 / kWarps;  // of 8 keys, a warp

  struct Shared {       // then q [kRows, pitch], k and v [2, kKeys, pitch]
    int broken[kKeys];  // V is not finite and some row must not see it
    float max[kWarps][16], sum[kWarps][16];
    Bf16 p[2][kWide ? 1 : 16][kPitchOfP];  // BF16 part and rest
  };
};

// ---- kernels ----

struct Place {  // what a block works on
  AttentionTile tile;
  int head, first_query;  // key-value head; of the tile's tokens x heads, the block's first

  __device__ int queries(int group, int rows) const {
    const int left = tile.tokens * group - first_query;
    return left < rows ? left : rows;
  }
  __device__ int position(int row, int group) const { return tile.position + (first_query + row) / group; }
};

__device__ Place place_of(const AttentionCall& c, int rows) {
  const int chunks = (c.group + rows - 1) / rows;  // blocks a tile: more than one only for groups beyond that
  const int index = static_cast<int>(blockIdx.x);
  return {c.tiles[index / chunks], static_cast<int>(blockIdx.y), index % chunks * rows};
}

__device__ Bf16* output_row(const AttentionCall& c, const Place& place, int row) {
  const int query = place.first_query + row, d = c.cache.head_dim;
  return c.y.data + (place.tile.first_row + query / c.group) * c.y.stride +
         (int64_t{place.head} * c.group + query % c.group) * d;
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
template <int kHeadDim>
__device__ void load_keys(Bf16* k, Bf16* v, const AttentionCall& c, const Place& place, int first, int end,
                          int pitch) {
  const int thread = static_cast<int>(threadIdx.x);
  const int32_t* const blocks = c.blocks + place.tile.block_offset + first / kBlockTokens;
  const auto row_of = [&](int key, int d) {  // in the cache, of a key of the slab
    const int64_t block = blocks[key / kBlockTokens];
    return ((block * c.cache.kv_heads + place.head) * kBlockTokens + key % kBlockTokens) * d;
  };
  if constexpr (kHeadDim > 0) {
    constexpr int kPieces = kHeadDim / 8, kAtOnce = kThreads / kPieces;
    const int piece = thread % kPieces * 8;
#pragma unroll 4
    for (int i = 0; i < kKeys / kAtOnce; ++i) {
      const int key = thread / kPieces + i * kAtOnce;
      const bool there = first + key < end;
      const int64_t from = there ? row_of(key, kHeadDim) + piece : 0;
      copy_async_16(k + key * pitch + piece, c.cache.k + from, there ? 16 : 0);
      copy_async_16(v + key * pitch + piece, c.cache.v + from, there ? 16 : 0);
    }
  } else {
    const int d = c.cache.head_dim, pieces = (pitch - 8) / 8;
    for (int i = thread; i < kKeys * pieces; i += kThreads) {
      const int key = i / pieces, piece = i % pieces * 8;
      const bool there = first + key < end;
      const int64_t row = there ? row_of(key, d) : 0;
      load_piece(k + key * pitch + piece, c.cache.k + row, piece, there ? d : 0, d % 8 == 0);
      load_piece(v + key * pitch + piece, c.cache.v + row, piece, there ? d : 0, d % 8 == 0);
    }
  }
}

__device__ void load_queries(Bf16* to, const AttentionCall& c, const Place& place, int rows, int pitch) {
  const int d = c.cache.head_dim, pieces = (pitch - 8) / 8, queries = place.queries(c.group, rows);
  for (int i = static_cast<int>(threadIdx.x); i < rows * pieces; i += kThreads) {
    const int row = i / pieces, element = i % pieces * 8;
    const bool there = row < queries;
    const int query = there ? place.first_query + row : 0;
    const int64_t column = (int64_t{place.head} * c.group + query % c.group) * d;
    const Bf16* const from = c.q.data + (place.tile.first_row + query / c.group) * c.q.stride + column;
    load_piece(to + row * pitch + element, from, element, there ? d : 0, d % 8 == 0 && c.aligned != 0);
  }
}

// Keys of the slab that not every row sees: V that is not finite becomes 0, and the key is marked.
__device__ void mend_values(int* broken, Bf16* v, int first_hidden, int d, int pitch) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kKeys) broken[thread] = 0;
  __syncthreads();  // no mark is set
  for (int i = thread; i < (kKeys - first_hidden) * d; i += kThreads) {
    const int key = first_hidden + i / d;
    Bf16& value = v[key * pitch + i % d];
    if ((value & 0x7f80u) != 0x7f80u) continue;
    value = 0;
    broken[key] = 1;
  }
  __syncthreads();  // the marks are set
}

// Two rows of a warp's 16, as a thread holds them in an mma's accumulators: rows lane / 4 and lane / 4 + 8, and
// of every 8 columns 2 (lane % 4) and the next.
template <int kColumnTiles>
struct Rows {
  float max[2], sum[2], output[kColumnTiles][4];

  __device__ void clear() {
    for (int r = 0; r < 2; ++r) max[r] = minus_infinity(), sum[r] = 0.0f;
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) output[n][i] = 0.0f;
  }
};

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

__device__ __forceinline__ float fold_four(float x) {  // over the four lanes of a row
  x = x + __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}
__device__ __forceinline__ float larger_of_four(float x) {
  for (int width = 1; width <= 2; width *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, width);
    x = other > x ? other : x;
  }
  return x;
}

// What rounding x and y to the pair `first` has left.
__device__ __forceinline__ uint32_t rest_of_pair(float x, float y, uint32_t first) {
  return round_pair(x - from_bits(first << 16), y - from_bits(first & 0xffff0000u));
}

// A block's walk over the keys of one tile and key-value head.
template <class S>
class Walk {
 public:
  static constexpr int kTiles = S::kColumnTiles;

  __device__ Walk(const AttentionCall& call, const Place& place)
      : c_(call),
        place_(place),
        d_(S::kHeadDim > 0 ? S::kHeadDim : call.cache.head_dim),
        pitch_((d_ + 15) / 16 * 16 + 8),
        queries_(place.queries(call.group, S::kRows)),
        lane_(static_cast<int>(threadIdx.x) % 32),
        warp_(static_cast<int>(threadIdx.x) / 32),
        shared_(*dynamic_shared<typename S::Shared>()),
        q_(reinterpret_cast<Bf16*>(&shared_ + 1)),
        k_(q_ + S::kRows * pitch_),
        v_(k_ + S::kStages * kKeys * pitch_) {
    for (int r = 0; r < 2; ++r) {
      const int row = row_of(r);
      last_key_[r] = row < queries_ ? place.position(row, call.group) : -1;
    }
  }

  __device__ int last_split() const { return place_.position(queries_ - 1, c_.group) / kSplit; }
  // The tile's row of the thread's row 0 or 1.
  __device__ int row_of(int r) const { return (S::kWide ? warp_ * 16 : 0) + lane_ / 4 + r * 8; }
  __device__ bool has_row(int r) const { return last_key_[r] >= 0; }
  // Columns of tile n: this one and the next.
  __device__ int column_of(int n) const { return first_column() + n * 8 + 2 * (lane_ % 4); }

  // Splits [first, last]; calls done(split) after each with its result in `rows`.
  template <class Done>
  __device__ void run(Rows<kTiles>& rows, int first, int last, Done done) {
    load_queries(q_, c_, place_, S::kRows, pitch_);
    const int begin = first * kSplit, seen = place_.position(queries_ - 1, c_.group) + 1;
    const int end = seen < (last + 1) * kSplit ? seen : (last + 1) * kSplit;
    const int slabs = (end - begin + kKeys - 1) / kKeys;
    const auto stage_of = [&](int slab) { return slab % S::kStages * kKeys * pitch_; };
    const auto load = [&](int slab) {
      if (slab < slabs)
        load_keys<S::kHeadDim>(k_ + stage_of(slab), v_ + stage_of(slab), c_, place_, begin + slab * kKeys,
                               end, pitch_);
      commit_copies();
    };
    constexpr int kAhead = S::kStages - 1;
    if constexpr (kAhead > 0) load(0);
    for (int slab = 0; slab < slabs; ++slab) {
      load(slab + kAhead);
      wait_copies<kAhead>();
      __syncthreads();  // the slab is whole, and so are the queries
      const int key = begin + slab * kKeys;
      if (key % kSplit == 0) rows.clear();
      attend(rows, key, k_ + stage_of(slab), v_ + stage_of(slab));
      if ((key + kKeys) % kSplit == 0 || slab + 1 == slabs) done(key / kSplit);
      __syncthreads();  // the slab may be overwritten
    }
    wait_copies<0>();
  }

  __device__ bool sees_split(int r, int split) const { return last_key_[r] >= split * kSplit; }

 private:
  __device__ int first_column() const { return S::kWide ? 0 : warp_ * kTiles * 8; }

  __device__ void attend(Rows<kTiles>& rows, int key, const Bf16* k, Bf16* v) {
    const int first_hidden = place_.position(0, c_.group) + 1 - key;  // of the slab, from some row
    const bool mended = first_hidden < kKeys && queries_ > 1;
    if (mended) mend_values(shared_.broken, v, first_hidden < 0 ? 0 : first_hidden, d_, pitch_);
    float p[S::kScoreTiles][4];
    score(p, key, k);
    float old_max[2], part[2];
    for (int r = 0; r < 2; ++r) old_max[r] = rows.max[r];
    find_max(rows, p);
    float factor[2];
    for (int r = 0; r < 2; ++r) {
      const float max = rows.max[r];
      factor[r] = max == minus_infinity() ? 1.0f : exp_own(old_max[r] - max);
    }
#pragma unroll
    for (int j = 0; j < S::kScoreTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        p[j][i] = p[j][i] == minus_infinity() ? 0.0f : exp_own(p[j][i] - rows.max[i / 2]);
    add_up(part, p);
    for (int r = 0; r < 2; ++r) rows.sum[r] = rows.sum[r] * factor[r] + part[r];
    if (mended) refuse_broken(rows, key);
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) rows.output[n][i] = rows.output[n][i] * factor[i / 2] + 0.0f;  // no -0
    add_values(rows, p, v);
  }

  // Scaled scores; minus infinity where the row does not see the key.
  __device__ void score(float (&s)[S::kScoreTiles][4], int key, const Bf16* k) const {
    const int first_tile = S::kWide ? 0 : warp_ * S::kScoreTiles;
#pragma unroll
    for (int j = 0; j < S::kScoreTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[j][i] = 0.0f;
#pragma unroll 1  // registers are short
    for (int element = 0; element + 16 < pitch_; element += 16) {
      uint32_t a[4];
      ldmatrix_x4(a, q_ + ((S::kWide ? warp_ * 16 : 0) + lane_ % 16) * pitch_ + element + lane_ / 16 * 8);
#pragma unroll
      for (int j = 0; j < S::kScoreTiles; j += 2) {
        uint32_t b[4];
        ldmatrix_x4(
            b, k + ((first_tile + j + lane_ / 16) * 8 + lane_ % 8) * pitch_ + element + lane_ / 8 % 2 * 8);
        mma_bf16(s[j], a, {b[0], b[1]});
        mma_bf16(s[j + 1], a, {b[2], b[3]});
      }
    }
#pragma unroll
    for (int j = 0; j < S::kScoreTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        s[j][i] = key + (first_tile + j) * 8 + 2 * (lane_ % 4) + i % 2 <= last_key_[i / 2]
                      ? s[j][i] * c_.scale
                      : minus_infinity();
  }

  // The rows' largest scores so far.
  __device__ void find_max(Rows<kTiles>& rows, const float (&s)[S::kScoreTiles][4]) {
    float largest[2] = {minus_infinity(), minus_infinity()};
#pragma unroll
    for (int j = 0; j < S::kScoreTiles; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) largest[i / 2] = s[j][i] > largest[i / 2] ? s[j][i] : largest[i / 2];
    for (int r = 0; r < 2; ++r) largest[r] = larger_of_four(largest[r]);
    if constexpr (!S::kWide) {
      for (int r = 0; r < 2; ++r)
        if (lane_ % 4 == 0) shared_.max[warp_][lane_ / 4 + r * 8] = largest[r];
      __syncthreads();  // the warps' maxima are there
      for (int r = 0; r < 2; ++r)
        for (int w = 0; w < kWarps; ++w) {
          const float other = shared_.max[w][lane_ / 4 + r * 8];
          largest[r] = other > largest[r] ? other : largest[r];
        }
    }
    for (int r = 0; r < 2; ++r) rows.max[r] = largest[r] > rows.max[r] ? largest[r] : rows.max[r];
  }

  // The slab's sums of p, on every lane of a row; narrow tiles leave p where all warps find it.
  __device__ void add_up(float (&sum)[2], const float (&p)[S::kScoreTiles][4]) {
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int j = 0; j < S::kScoreTiles; j += 2) {
        const float of_sixteen =
            fold_four(p[j][2 * r] + p[j][2 * r + 1] + p[j + 1][2 * r] + p[j + 1][2 * r + 1]);
        sum[r] = j == 0 ? of_sixteen : sum[r] + of_sixteen;
      }
    }
    if constexpr (!S::kWide) {
      for (int r = 0; r < 2; ++r) {
        const int row = lane_ / 4 + r * 8;
        if (lane_ % 4 == 0) shared_.sum[warp_][row] = sum[r];
#pragma unroll
        for (int j = 0; j < S::kScoreTiles; ++j) {
          const int column = (warp_ * S::kScoreTiles + j) * 8 + 2 * (lane_ % 4);
          const float x = p[j][2 * r], y = p[j][2 * r + 1];
          const uint32_t first = round_pair(x, y), rest = rest_of_pair(x, y, first);
          memcpy(&shared_.p[0][row][column], &first, sizeof(first));
          memcpy(&shared_.p[1][row][column], &rest, sizeof(rest));
        }
      }
      __syncthreads();  // p and the warps' sums are there
      for (int r = 0; r < 2; ++r) {
        const int row = lane_ / 4 + r * 8;
        sum[r] = shared_.sum[0][row];
        for (int w = 1; w < kWarps; ++w) sum[r] = sum[r] + shared_.sum[w][row];
      }
    }
  }

  __device__ void refuse_broken(Rows<kTiles>& rows, int key) const {
    for (int i = 0; i < kKeys; ++i)
      if (shared_.broken[i] != 0)
        for (int r = 0; r < 2; ++r)
          if (key + i <= last_key_[r]) rows.sum[r] = from_bits(0x7fc00000u);
  }

  // o += p V.
  __device__ void add_values(Rows<kTiles>& rows, const float (&p)[S::kScoreTiles][4], const Bf16* v) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t first[4], rest[4];
      if constexpr (S::kWide) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // rows g, g + 8 of the first eight keys, then of the others
          const float x = p[2 * step + i / 2][2 * (i % 2)], y = p[2 * step + i / 2][2 * (i % 2) + 1];
          first[i] = round_pair(x, y);
          rest[i] = rest_of_pair(x, y, first[i]);
        }
      } else {
        ldmatrix_x4(first, &shared_.p[0][lane_ % 16][step * 16 + lane_ / 16 * 8]);
        ldmatrix_x4(rest, &shared_.p[1][lane_ % 16][step * 16 + lane_ / 16 * 8]);
      }
#pragma unroll
      for (int n = 0; n < kTiles; n += 2) {
        const int column = first_column() + n * 8;
        if (column + 8 >= pitch_) break;
        uint32_t b[4];
        ldmatrix_x4_transposed(b, v + (step * 16 + lane_ % 16) * pitch_ + column + lane_ / 16 * 8);
        mma_bf16(rows.output[n], first, {b[0], b[1]});
        mma_bf16(rows.output[n], rest, {b[0], b[1]});
        mma_bf16(rows.output[n + 1], first, {b[2], b[3]});
        mma_bf16(rows.output[n + 1], rest, {b[2], b[3]});
      }
    }
  }

  const AttentionCall& c_;
  const Place& place_;
  const int d_, pitch_, queries_, lane_, warp_;
  typename S::Shared& shared_;
  Bf16 *const q_, *const k_, *const v_;
  int last_key_[2];
};

__device__ __forceinline__ int64_t partial_size(int d) { return int64_t{kNarrowRows} * (d + 2); }

// Grid: tiles (x chunks of heads), key-value heads, 1 or splits (with a workspace).
template <class S>
__global__ void __launch_bounds__(kThreads, S::kColumnTiles <= 4 ? 4 : 1)
    attention_kernel(const AttentionCall c) {
  begin_kernel();
  const Place place = place_of(c, S::kRows);
  if (place.queries(c.group, S::kRows) <= 0) return;
  Walk<S> walk(c, place);
  const int last = walk.last_split(), d = S::kHeadDim > 0 ? S::kHeadDim : c.cache.head_dim;
  Rows<S::kColumnTiles> rows;
  if (!S::kWide && c.workspace != nullptr) {
    const int split = static_cast<int>(blockIdx.z);
    if (split > last) return;
    walk.run(rows, split, split, [](int) {});
    const int64_t index = (int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * gridDim.z + split;
    float* const partial = c.workspace + index * partial_size(d);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* const to = partial + walk.row_of(i / 2) * (d + 2);
#pragma unroll
      for (int n = 0; n < S::kColumnTiles; ++n)
        if (const int column = walk.column_of(n) + i % 2; column < d) to[column] = rows.output[n][i];
      if (threadIdx.x < 32 && threadIdx.x % 4 == 0 && i % 2 == 0)
        to[d] = rows.max[i / 2], to[d + 1] = rows.sum[i / 2];
    }
    return;
  }

  Rows<S::kColumnTiles> merged;
  walk.run(rows, 0, last, [&](int split) {
    const bool first = split == 0;
    float old_factor[2], new_factor[2];
    for (int r = 0; r < 2; ++r) {
      const Factors f = merge_factors(first, merged.max[r], rows.max[r]);
      old_factor[r] = f.old_factor, new_factor[r] = f.new_factor;
      if (!walk.sees_split(r, split)) continue;
      merged.max[r] = f.max;
      merged.sum[r] = merge(first, merged.sum[r], rows.sum[r], f.old_factor, f.new_factor);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!walk.sees_split(i / 2, split)) continue;
#pragma unroll
      for (int n = 0; n < S::kColumnTiles; ++n)
        merged.output[n][i] =
            merge(first, merged.output[n][i], rows.output[n][i], old_factor[i / 2], new_factor[i / 2]);
    }
  });
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (!walk.has_row(i / 2)) continue;
    Bf16* const to = output_row(c, place, walk.row_of(i / 2));
#pragma unroll
    for (int n = 0; n < S::kColumnTiles; ++n)
      if (const int column = walk.column_of(n) + i % 2; column < d)
        to[column] = round_bf16(merged.output[n][i] / merged.sum[i / 2]);
  }
}

// The splits' results of a row merged ascending. Grid: as attention_kernel's, with rows for splits.
__global__ void __launch_bounds__(kThreads) merge_splits_kernel(const AttentionCall c, int splits) {
  begin_kernel();
  const int d = c.cache.head_dim, row = static_cast<int>(blockIdx.z);
  const Place place = place_of(c, kNarrowRows);
  if (row >= place.queries(c.group, kNarrowRows)) return;
  const float* const partials =
      c.workspace + (int64_t{blockIdx.x} * gridDim.y + blockIdx.y) * splits * partial_size(d) + row * (d + 2);
  const int last = place.position(row, c.group) / kSplit;
  Bf16* const to = output_row(c, place, row);
  for (int column = static_cast<int>(threadIdx.x); column < d; column += kThreads) {
    float max = 0, sum = 0, output = 0;
#pragma unroll 4
    for (int split = 0; split <= last; ++split) {
      const float* const one = partials + split * partial_size(d);
      const Factors f = merge_factors(split == 0, max, one[d]);
      max = f.max;
      sum = merge(split == 0, sum, one[d + 1], f.old_factor, f.new_factor);
      output = merge(split == 0, output, one[column], f.old_factor, f.new_factor);
    }
    to[column] = round_bf16(output / sum);
  }
}

// ---- launchers ----

template <class S>
void launch_attention(const AttentionCall& c, double keys, Stream& stream) {
  const int d = c.cache.head_dim, pitch = (d + 15) / 16 * 16 + 8;
  const unsigned blocks = static_cast<unsigned>(c.tile_count * ((c.group + S::kRows - 1) / S::kRows));
  const unsigned heads = static_cast<unsigned>(c.cache.kv_heads);
  const unsigned splits = c.workspace == nullptr ? 1u : static_cast<unsigned>(c.max_splits);
  launch({.name = "attention",
          .grid = dim3(blocks, heads, splits),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(typename S::Shared) +
                          static_cast<size_t>((S::kRows + 2 * S::kStages * kKeys) * pitch) * sizeof(Bf16),
          .stream = stream,
          .bytes = 4.0 * keys * d * c.cache.kv_heads,
          .flops = 6.0 * keys * d * S::kRows * c.cache.kv_heads},
         attention_kernel<S>, c);
  if (c.workspace == nullptr) return;
  launch({.name = "merge_splits",
          .grid = dim3(blocks, heads, kNarrowRows),
          .block = dim3(kThreads),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 4.0 * static_cast<double>(blocks * heads * splits) * kNarrowRows * (d + 2),
          .flops = 0},
         merge_splits_kernel, c, static_cast<int>(splits));
}

}  // namespace

int64_t attention_workspace(int64_t partials, int32_t head_dim) {
  return partials * kNarrowRows * (head_dim + 2);
}

void attention(const AttentionCall& call, bool wide, double keys, Stream& stream) {
  const int d = call.cache.head_dim;
  if (wide && d == 128)
    launch_attention<Shape<true, 16, 128>>(call, keys, stream);
  else if (wide)
    launch_attention<Shape<true, kWideHeadDim / 8, 0>>(call, keys, stream);
  else if (d == 128)
    launch_attention<Shape<false, 4, 128>>(call, keys, stream);
  else if (d <= 128)
    launch_attention<Shape<false, 4, 0>>(call, keys, stream);
  else if (d <= 256)
    launch_attention<Shape<false, 8, 0>>(call, keys, stream);
  else
    launch_attention<Shape<false, 16, 0>>(call, keys, stream);
}

}  // namespace lockstep::cuda
