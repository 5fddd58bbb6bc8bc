// Sixteen float32 lanes as one AVX-512 register: all of a Simd type but the product of pairs. For the files
// of the AVX-512 paths only: the anonymous namespace gives each its own copy, since functions compiled for
// different instruction sets must not be merged.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bfloat16.h"

namespace lockstep {
namespace {

// What the paths derive from: F, BW, VL and DQ.
struct Avx512 {
  using F32 = __m512;
  using Pairs = __m512i;  // 16 pairs of BF16
  using Mask = __mmask16;

  static constexpr int kTileM = 4, kTileN = 4;  // 16 accumulators of 32 registers

  static F32 zero() { return _mm512_setzero_ps(); }
  static F32 set1(float x) { return _mm512_set1_ps(x); }
  static float lane0(F32 x) { return _mm512_cvtss_f32(x); }
  static F32 load(const float* p) { return _mm512_loadu_ps(p); }
  static F32 load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(lanes_below(n), p); }
  static void store(float* p, F32 x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, F32 x, int64_t n) { _mm512_mask_storeu_ps(p, lanes_below(n), x); }

  static Mask lanes_below(int64_t n) { return n >= 16 ? 0xffff : static_cast<Mask>((1u << n) - 1); }
  static Mask less(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Mask equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static F32 select(Mask mask, F32 yes, F32 no) { return _mm512_mask_blend_ps(mask, no, yes); }
  static uint32_t mask_bits(Mask mask) { return mask; }

  static F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
  static F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }  // a < b ? a : b
  static F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }  // a > b ? a : b
  static float reduce_max(F32 x) {
    x = max(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    x = max(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    x = max(x, _mm512_permute_ps(x, 0x4e));
    return lane0(max(x, _mm512_permute_ps(x, 0xb1)));
  }

  // 2^n for whole n in [-126, 127]: the low bits of n + 1.5 * 2^23 are n.
  static F32 pow2(F32 n) {
    const __m512i bits = _mm512_slli_epi32(_mm512_castps_si512(n + set1(0x1.8p23f)), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(bits, _mm512_set1_epi32(0x3f800000)));
  }

  static F32 upper24(const uint32_t* words) {
    return _mm512_cvtepi32_ps(_mm512_srli_epi32(_mm512_loadu_si512(words), 8));
  }

  // ---- BF16 ----

  static F32 widen_bits(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
  static F32 widen(const BFloat16* p) {
    return widen_bits(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F32 widen(const BFloat16* p, int64_t n) {
    return widen_bits(_mm256_maskz_loadu_epi16(lanes_below(n), p));
  }

  // Round to nearest even in the upper halves; a NaN stays one (quiet).
  static __m512i round_bits(F32 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), rounded, quiet);
  }
  static F32 round_bf16(F32 x) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(round_bits(x), _mm512_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static __m256i narrow(F32 x) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_bits(x), 16)); }
  static void store_bf16(BFloat16* p, F32 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x));
  }
  static void store_bf16(BFloat16* p, F32 x, int64_t n) {
    _mm256_mask_storeu_epi16(p, lanes_below(n), narrow(x));
  }

  static Pairs load_pairs(const BFloat16* p) { return _mm512_loadu_si512(p); }
  static Pairs load_pairs(const BFloat16* p, int n) {  // n < 32 elements, then zeros
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((1u << n) - 1), p);
  }
  static Pairs broadcast_pair(const BFloat16* p) {
    int32_t pair;
    memcpy(&pair, p, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  static void prefetch(const BFloat16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  // ---- sums of 16 lanes, folded in halves ----

  // Quads of a and b after the folds by 8: [a a b b].
  static F32 fold8(F32 a, F32 b) {
    return _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
  }
  // Of [a a b b] and [c c d d], the fold by 4: [a b c d].
  static F32 fold4(F32 ab, F32 cd) {
    return _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);
  }
  static F32 fold84(F32 a, F32 b, F32 c, F32 d) { return fold4(fold8(a, b), fold8(c, d)); }
  // Within quads: [v v w w], then [t u v w] sums.
  static F32 fold2(F32 v, F32 w) { return _mm512_shuffle_ps(v, w, 0x44) + _mm512_shuffle_ps(v, w, 0xee); }
  static F32 fold1(F32 tu, F32 vw) {
    return _mm512_shuffle_ps(tu, vw, 0x88) + _mm512_shuffle_ps(tu, vw, 0xdd);
  }

  // out[i] = sum of x[i]'s lanes. Sixteen at once are one transposition: quad q, lane j of the result is x[4
  // q + j].
  template <int N>
  static void fold(float* out, const F32* x) {
    if constexpr (N == 16) {
      const F32 v0 = fold84(x[0], x[4], x[8], x[12]), v1 = fold84(x[1], x[5], x[9], x[13]);
      const F32 v2 = fold84(x[2], x[6], x[10], x[14]), v3 = fold84(x[3], x[7], x[11], x[15]);
      store(out, fold1(fold2(v0, v1), fold2(v2, v3)));
    } else {
      for (int i = 0; i < N; i += 4) {
        const F32 a = x[i], b = i + 1 < N ? x[i + 1] : zero();
        const F32 c = i + 2 < N ? x[i + 2] : zero(), d = i + 3 < N ? x[i + 3] : zero();
        const F32 v = fold84(a, b, c, d);
        const F32 pairs = fold2(v, v),
                  sums = fold1(pairs, pairs);  // all lanes of quad q: the sum of x[i + q]
        const F32 packed = _mm512_permutexvar_ps(
            _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), sums);
        const int left = N - i < 4 ? N - i : 4;
        _mm_mask_storeu_ps(out + i, static_cast<__mmask8>((1 << left) - 1), _mm512_castps512_ps128(packed));
      }
    }
  }
};

}  // namespace
}  // namespace lockstep
