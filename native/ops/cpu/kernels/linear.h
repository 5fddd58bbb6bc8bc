// The dot products of every linear layer: y[t][r] = sum over k of x[t][k] * w[r][k], BF16 in, float32 out.
//
// Layout: rows of x and of w are contiguous along K and used as stored: any byte alignment, nothing packed.
// Order along K (docs/numerics.md), whatever the tile: K in `parts` equal parts; a part in chunks of kChunk
// elements; in a chunk, lane i of 16 takes the elements 32 v + 2 i + 1 and 32 v + 2 i for v = 0, 1, ...; the
// 16 lanes are folded in halves (8, 4, 2, 1); chunks are added in ascending order; part 0 + part 1.
//
// Per call: 2 * tokens * rows * k FLOPs; 2 * rows * k bytes of weights from memory (once: the panel and the
// tokens of a chunk stay in the caches). Floor: the larger of FLOPs / peak and bytes / bandwidth.
//
// The walk: part > chunk > tile of weight rows > tile of tokens, so that a chunk
// of the tokens (2 KB each) stays in L1 while weights stream by once, and the
// first tile of tokens prefetches the weight rows that come next.
//
// Measured on one core (Intel Xeon with AMX, 2026-11-23, avx512-bf16): 512 tokens 108-112 GFLOP/s for K =
// 1,024 to 9,728, of 120 in a loop of vdpbf16ps alone; one token 14-16 GB/s where plain reads reach 15.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
struct LinearKernel {
  using F32 = typename S::F32;
  static constexpr int kChunk = 1024;  // elements of K
  static constexpr int kStep = 32;     // elements of K per vector
  static constexpr int kTileTokens = S::kTileM;
  static constexpr int kTileRows = S::kTileN;

  // out[t * Rows + r] = the sum over one chunk of n elements, of Tokens x Rows dot products.
  template <int Tokens, int Rows, bool Prefetch>
  static void chunk_sums(float* out, const BFloat16* x, int64_t x_stride, const BFloat16* w, int64_t w_stride,
                         int n, const BFloat16* next) {
    F32 sums[Tokens * Rows];
    for (int i = 0; i < Tokens * Rows; ++i) sums[i] = S::zero();
    const int whole = n / kStep * kStep;
    for (int i = 0; i < whole; i += kStep) {
      typename S::Pairs rows[Rows];
      for (int r = 0; r < Rows; ++r) {
        rows[r] = S::load_pairs(w + r * w_stride + i);
        if constexpr (Prefetch) S::prefetch(next + r * w_stride + i);
      }
      for (int t = 0; t < Tokens; ++t) {
        const auto token = S::load_pairs(x + t * x_stride + i);
        for (int r = 0; r < Rows; ++r) sums[t * Rows + r] = S::dot2(sums[t * Rows + r], token, rows[r]);
      }
    }
    if (whole < n) {  // both sides zero-padded: beyond x and w may lie anything, or no memory at all
      typename S::Pairs rows[Rows];
      for (int r = 0; r < Rows; ++r) rows[r] = S::load_pairs(w + r * w_stride + whole, n - whole);
      for (int t = 0; t < Tokens; ++t) {
        const auto token = S::load_pairs(x + t * x_stride + whole, n - whole);
        for (int r = 0; r < Rows; ++r) sums[t * Rows + r] = S::dot2(sums[t * Rows + r], token, rows[r]);
      }
    }
    S::template fold<Tokens * Rows>(out, sums);
  }

  // totals [tokens, kLinearRows] (= or +=) the chunk's sums. The first chunk assigns: totals start from
  // nothing, not from +0.
  template <int Tokens, int Rows>
  static void tile(float* totals, bool first, const BFloat16* x, int64_t x_stride, const BFloat16* w,
                   int64_t w_stride, int n, const BFloat16* next) {
    alignas(64) float sums[Tokens * Rows];
    if (next != nullptr) {
      chunk_sums<Tokens, Rows, true>(sums, x, x_stride, w, w_stride, n, next);
    } else {
      chunk_sums<Tokens, Rows, false>(sums, x, x_stride, w, w_stride, n, next);
    }
    for (int t = 0; t < Tokens; ++t) {
      for (int r = 0; r < Rows; ++r) {
        float& total = totals[t * kLinearRows + r];
        total = first ? sums[t * Rows + r] : total + sums[t * Rows + r];
      }
    }
  }

  // One tile of weight rows against all tokens of the block;
  // `next` is what the first tile of tokens prefetches.
  template <int Rows>
  static void all_tokens(float* totals, bool first, int tokens, const BFloat16* x, int64_t x_stride,
                         const BFloat16* w, int64_t w_stride, int n, const BFloat16* next) {
    int t = 0;
    for (; t + kTileTokens <= tokens; t += kTileTokens) {
      tile<kTileTokens, Rows>(totals + t * kLinearRows, first, x + t * x_stride, x_stride, w, w_stride, n,
                              next);
      next = nullptr;
    }
    const int left = tokens - t;
    const BFloat16* xt = x + t * x_stride;
    if constexpr (kTileTokens > 3) {
      if (left == 3)
        return tile<3, Rows>(totals + t * kLinearRows, first, xt, x_stride, w, w_stride, n, next);
    }
    if constexpr (kTileTokens > 2) {
      if (left == 2)
        return tile<2, Rows>(totals + t * kLinearRows, first, xt, x_stride, w, w_stride, n, next);
    }
    if (left == 1) tile<1, Rows>(totals + t * kLinearRows, first, xt, x_stride, w, w_stride, n, next);
  }

  // One chunk of K over the panel.
  static void chunk(float* totals, bool first, const LinearBlock& b, int64_t start, int n) {
    const BFloat16* x = b.x + start;
    const BFloat16* w = b.w + start;
    int r = 0;
    for (; r + kTileRows <= b.rows; r += kTileRows) {
      const bool more = r + 2 * kTileRows <= b.rows;
      // Behind the panel's last tile comes its first, one chunk on;
      // a prefetch beyond the end of K is harmless.
      const BFloat16* next = more ? w + (r + kTileRows) * b.w_stride : w + n;
      all_tokens<kTileRows>(totals + r, first, b.tokens, x, b.x_stride, w + r * b.w_stride, b.w_stride, n,
                            next);
    }
    for (; r < b.rows; ++r) {
      all_tokens<1>(totals + r, first, b.tokens, x, b.x_stride, w + r * b.w_stride, b.w_stride, n, nullptr);
    }
  }

  static void linear(const LinearBlock& b) {
    alignas(64) float totals[kLinearTokens * kLinearRows];  // [tokens, rows], 8 KB on the stack
    const int64_t length = b.k / b.parts;
    for (int part = 0; part < b.parts; ++part) {
      for (int64_t i = 0; i < length; i += kChunk) {
        const int n = static_cast<int>(length - i < kChunk ? length - i : kChunk);
        chunk(totals, i == 0, b, part * length + i, n);
      }
      for (int t = 0; t < b.tokens; ++t) {
        float* y = b.y + t * b.y_stride;
        for (int r = 0; r < b.rows; ++r) {
          const float total = totals[t * kLinearRows + r];
          y[r] = part == 0 ? total : y[r] + total;
        }
      }
    }
  }
};

}  // namespace lockstep
