// Causal attention of a few queries over one head of the paged cache: softmax(q K^T * scale) V.
//
// Layout of a head's share of a block: K [d / 2, 16 keys, 2], so that one 16-lane load holds one pair of
// elements of 16 keys and a score needs no horizontal sum; V [16 keys, d]. Order, for each query by itself,
// whatever is tiled with it: splits of kKeysPerSplit keys by absolute position; in a split: score = (pairs of
// d ascending, odd element first) * scale; m = the largest visible score; p = exp(score - m); l = sum of p,
// 16 lanes by key, blocks ascending, folded in halves; o = p * V fused, keys ascending. Splits merge into (M,
// L, O) in ascending order; at the end O / L. Keys beyond the query's position take no part: their scores are
// masked after the dot product, their V is not read.
//
// Per query and key: 4 d FLOPs and one exponential; per key 4 d bytes, shared by the queries of a call.
// Floor: bandwidth of the cache in decode; in prefill BF16 FLOPs for q K^T and float32 FLOPs for p V.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/activation.h"
#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
struct AttentionKernel {
  using F32 = typename S::F32;
  static constexpr int kTileQueries = S::kTileM;
  static constexpr int kTileWidth = S::kTileN;  // blocks of keys in scores, vectors of d in values

  // A split as one call of `attention` sees it.
  struct Split {
    const AttentionBlock& b;
    const int32_t* blocks;        // the split's first block number
    int keys[kAttentionQueries];  // how many of the split's keys each query sees; ascending
  };

  // ---- scores ----

  template <int Queries, int Blocks>
  static void scores_tile(const Split& s, int query, int block) {
    const AttentionBlock& b = s.b;
    const BFloat16* keys[Blocks];
    for (int n = 0; n < Blocks; ++n) keys[n] = b.k + s.blocks[block + n] * b.block_stride;
    F32 sums[Queries * Blocks];
    for (int i = 0; i < Queries * Blocks; ++i) sums[i] = S::zero();
    for (int j = 0; j < b.head_dim; j += 2) {
      typename S::Pairs pairs[Blocks];
      for (int n = 0; n < Blocks; ++n) pairs[n] = S::load_pairs(keys[n] + j * kKeysPerBlock);
      for (int q = 0; q < Queries; ++q) {
        const auto element = S::broadcast_pair(b.q[query + q] + j);
        for (int n = 0; n < Blocks; ++n)
          sums[q * Blocks + n] = S::dot2(sums[q * Blocks + n], element, pairs[n]);
      }
    }
    for (int q = 0; q < Queries; ++q) {
      float* scores = b.scratch->scores[query + q] + block * kKeysPerBlock;
      for (int n = 0; n < Blocks; ++n) {
        S::store(scores + n * kKeysPerBlock, sums[q * Blocks + n] * S::set1(b.scale));
      }
    }
  }

  template <int Queries>
  static void scores(const Split& s, int query) {
    const int blocks = (s.keys[query + Queries - 1] + kKeysPerBlock - 1) / kKeysPerBlock;
    int block = 0;
    for (; block + kTileWidth <= blocks; block += kTileWidth)
      scores_tile<Queries, kTileWidth>(s, query, block);
    for (; block < blocks; ++block) scores_tile<Queries, 1>(s, query, block);
  }

  // ---- softmax ----

  // scores[0, keys) become p, those up to the block's end 0; sets the split's max and sum of p.
  static void softmax(float* scores, int keys, float* max, float* sum) {
    const F32 nothing = S::set1(-__builtin_inff());
    F32 largest = nothing;
    for (int i = 0; i < keys; i += kKeysPerBlock) {
      const F32 visible = S::select(S::lanes_below(keys - i), S::load(scores + i), nothing);
      S::store(scores + i, visible);
      largest = S::max(visible, largest);
    }
    *max = S::reduce_max(largest);
    F32 sums = S::zero();
    for (int i = 0; i < keys; i += kKeysPerBlock) {
      const F32 p = Exponential<S>::exp(S::load(scores + i) - S::set1(*max));
      const F32 visible = S::select(S::lanes_below(keys - i), p, S::zero());
      S::store(scores + i, visible);
      sums = sums + visible;
    }
    S::template fold<1>(sum, &sums);
  }

  // ---- values ----

  // split[query ...][dim ...] (=, from key 0; else +=) p * V over
  // the keys [from, to). `lanes` < 16 only for Vectors 1.
  template <int Queries, int Vectors, bool Partial>
  static void values_tile(const Split& s, int query, int dim, int from, int to, int lanes) {
    const AttentionBlock& b = s.b;
    AttentionScratch& scratch = *b.scratch;
    F32 sums[Queries * Vectors];
    for (int q = 0; q < Queries; ++q) {
      const float* start = scratch.split[query + q] + dim;
      for (int n = 0; n < Vectors; ++n)
        sums[q * Vectors + n] = from == 0 ? S::zero() : S::load(start + 16 * n);
    }
    for (int key = from; key < to; ++key) {
      const BFloat16* v = b.v + s.blocks[key / kKeysPerBlock] * b.block_stride;
      v += (key % kKeysPerBlock) * b.head_dim + dim;
      F32 values[Vectors];
      for (int n = 0; n < Vectors; ++n) values[n] = Partial ? S::widen(v, lanes) : S::widen(v + 16 * n);
      for (int q = 0; q < Queries; ++q) {
        const F32 p = S::set1(scratch.scores[query + q][key]);
        for (int n = 0; n < Vectors; ++n) sums[q * Vectors + n] = S::fma(p, values[n], sums[q * Vectors + n]);
      }
    }
    for (int q = 0; q < Queries; ++q) {
      float* end = scratch.split[query + q] + dim;
      for (int n = 0; n < Vectors; ++n) S::store(end + 16 * n, sums[q * Vectors + n]);
    }
  }

  template <int Queries>
  static void values_range(const Split& s, int query, int from, int to) {
    const int d = s.b.head_dim;
    int dim = 0;
    for (; dim + 16 * kTileWidth <= d; dim += 16 * kTileWidth) {
      values_tile<Queries, kTileWidth, false>(s, query, dim, from, to, 16);
    }
    for (; dim + 16 <= d; dim += 16) values_tile<Queries, 1, false>(s, query, dim, from, to, 16);
    if (dim < d) values_tile<Queries, 1, true>(s, query, dim, from, to, d - dim);
  }

  // The keys that all queries of the tile see are shared; what later queries see besides, each does alone: a
  // key that a query does not see must not even be multiplied by 0 (it may be infinite, and -0 + 0 is +0).
  template <int Queries>
  static void values(const Split& s, int query) {
    const int shared = s.keys[query];
    values_range<Queries>(s, query, 0, shared);
    for (int q = query + 1; q < query + Queries; ++q) {
      if (s.keys[q] > shared) values_range<1>(s, q, shared, s.keys[q]);
    }
  }

  // ---- splits ----

  // (M, L, O) and one more split (m, l, o): both are scaled to the larger maximum and added. The first is
  // taken as is.
  static void merge(const AttentionBlock& b, int query, bool first, float max, float sum) {
    AttentionScratch& scratch = *b.scratch;
    const float larger = !first && scratch.max[query] > max ? scratch.max[query] : max;
    F32 old_factor = S::zero(), new_factor = S::set1(1.0f);
    if (!first) {
      old_factor = Exponential<S>::exp(S::set1(scratch.max[query]) - S::set1(larger));
      new_factor = Exponential<S>::exp(S::set1(max) - S::set1(larger));
    }
    for (int dim = 0; dim < b.head_dim; dim += 16) {
      float* output = scratch.output[query] + dim;
      const F32 split = S::load(scratch.split[query] + dim);
      S::store(output, first ? split : S::load(output) * old_factor + split * new_factor);
    }
    const float old_sum = first ? 0.0f : scratch.sum[query] * S::lane0(old_factor);
    scratch.sum[query] = first ? sum : old_sum + sum * S::lane0(new_factor);
    scratch.max[query] = larger;
  }

  template <int Queries>
  static void split_tile(const Split& s, int query, bool first) {
    scores<Queries>(s, query);
    float max[Queries], sum[Queries];
    for (int q = 0; q < Queries; ++q)
      softmax(s.b.scratch->scores[query + q], s.keys[query + q], &max[q], &sum[q]);
    values<Queries>(s, query);
    for (int q = 0; q < Queries; ++q) merge(s.b, query + q, first, max[q], sum[q]);
  }

  static void attend_split(const AttentionBlock& b, int32_t start) {
    Split s{b, b.blocks + start / kKeysPerBlock, {}};
    int query = 0;
    while (b.position[query] < start) ++query;  // these see nothing of this split
    for (int q = query; q < b.queries; ++q) {
      const int32_t keys = b.position[q] - start + 1;
      s.keys[q] = keys < kKeysPerSplit ? keys : kKeysPerSplit;
    }
    const bool first = start == 0;
    for (; query + kTileQueries <= b.queries; query += kTileQueries)
      split_tile<kTileQueries>(s, query, first);
    if constexpr (kTileQueries > 2) {
      for (; query + 2 <= b.queries; query += 2) split_tile<2>(s, query, first);
    }
    for (; query < b.queries; ++query) split_tile<1>(s, query, first);
  }

  static void attention(const AttentionBlock& b) {
    const int32_t last = b.position[b.queries - 1];
    for (int32_t start = 0; start <= last; start += kKeysPerSplit) attend_split(b, start);
    for (int q = 0; q < b.queries; ++q) {
      const F32 sum = S::set1(b.scratch->sum[q]);
      for (int dim = 0; dim < b.head_dim; dim += 16) {
        const int left = b.head_dim - dim;
        S::store_bf16(b.y[q] + dim, S::load(b.scratch->output[q] + dim) / sum, left < 16 ? left : 16);
      }
    }
  }
};

}  // namespace lockstep
