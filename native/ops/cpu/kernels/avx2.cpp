// Compute path "avx2": AVX2 and FMA (Haswell and later, Zen 1 and later). Sixteen lanes are two registers.
//
// A product of two pairs is two fused multiply-adds, odd element first, then even, as vdpbf16ps does it: the
// linear layers give the same bits as "avx512-bf16" wherever no denormal appears (seen on a Sapphire Rapids).
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/cpu/kernels/instantiate.h"

namespace lockstep {
namespace {

struct Avx2 {
  struct F32 {
    __m256 lo, hi;  // lanes 0-7, 8-15

    friend F32 operator+(F32 a, F32 b) { return {a.lo + b.lo, a.hi + b.hi}; }
    friend F32 operator-(F32 a, F32 b) { return {a.lo - b.lo, a.hi - b.hi}; }
    friend F32 operator*(F32 a, F32 b) { return {a.lo * b.lo, a.hi * b.hi}; }
    friend F32 operator/(F32 a, F32 b) { return {a.lo / b.lo, a.hi / b.hi}; }
  };
  struct Pairs {
    __m256i lo, hi;  // 16 pairs of BF16: the even element in the low half
  };
  struct Mask {
    __m256 lo, hi;  // all ones or all zeros
  };

  static constexpr int kTileM = 2, kTileN = 2;  // 8 accumulators of 16 registers

  static F32 zero() { return set1(0.0f); }
  static F32 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static float lane0(F32 x) { return _mm256_cvtss_f32(x.lo); }
  static F32 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F32 load(const float* p, int64_t n) {
    const Mask mask = lanes_below(n);
    return {_mm256_maskload_ps(p, _mm256_castps_si256(mask.lo)),
            _mm256_maskload_ps(p + 8, _mm256_castps_si256(mask.hi))};
  }
  static void store(float* p, F32 x) {
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
  }
  static void store(float* p, F32 x, int64_t n) {
    const Mask mask = lanes_below(n);
    _mm256_maskstore_ps(p, _mm256_castps_si256(mask.lo), x.lo);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(mask.hi), x.hi);
  }

  static Mask lanes_below(int64_t n) {
    const __m256i limit = _mm256_set1_epi32(n < 16 ? static_cast<int>(n) : 16);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, lanes)),
            _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, _mm256_add_epi32(lanes, _mm256_set1_epi32(8))))};
  }
  static Mask less(F32 a, F32 b) {
    return {_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ)};
  }
  static Mask equal(F32 a, F32 b) {
    return {_mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ)};
  }
  static F32 select(Mask mask, F32 yes, F32 no) {
    return {_mm256_blendv_ps(no.lo, yes.lo, mask.lo), _mm256_blendv_ps(no.hi, yes.hi, mask.hi)};
  }
  static uint32_t mask_bits(Mask mask) {
    return static_cast<uint32_t>(_mm256_movemask_ps(mask.lo)) |
           static_cast<uint32_t>(_mm256_movemask_ps(mask.hi)) << 8;
  }

  static F32 fma(F32 a, F32 b, F32 c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static float reduce_max(F32 x) {
    const __m256 eight = _mm256_max_ps(x.lo, x.hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  // 2^n for whole n in [-126, 127]: the low bits of n + 1.5 * 2^23 are n.
  static F32 pow2(F32 n) {
    const F32 shifted = n + set1(0x1.8p23f);
    const auto scale = [](__m256 x) {
      const __m256i bits = _mm256_slli_epi32(_mm256_castps_si256(x), 23);
      return _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(0x3f800000)));
    };
    return {scale(shifted.lo), scale(shifted.hi)};
  }

  static F32 upper24(const uint32_t* words) {
    const Pairs x = load_words(words);
    return {_mm256_cvtepi32_ps(_mm256_srli_epi32(x.lo, 8)), _mm256_cvtepi32_ps(_mm256_srli_epi32(x.hi, 8))};
  }

  // ---- BF16 ----

  static Pairs load_words(const void* p) {
    const auto* words = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
  }
  static F32 widen(const BFloat16* p) {
    const auto eight = [](const BFloat16* from) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    };
    return {eight(p), eight(p + 8)};
  }
  static F32 widen(const BFloat16* p, int64_t n) {
    BFloat16 padded[16] = {};
    memcpy(padded, p, static_cast<size_t>(n < 16 ? n : 16) * sizeof(BFloat16));
    return widen(padded);
  }

  // Round to nearest even in the upper halves; a NaN stays one (quiet).
  static __m256i round_bits(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
  }
  static F32 round_bf16(F32 x) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000));
    return {_mm256_castsi256_ps(_mm256_and_si256(round_bits(x.lo), upper)),
            _mm256_castsi256_ps(_mm256_and_si256(round_bits(x.hi), upper))};
  }
  static __m256i narrow(F32 x) {
    const __m256i lo = _mm256_srli_epi32(round_bits(x.lo), 16), hi = _mm256_srli_epi32(round_bits(x.hi), 16);
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);  // packing goes by 128-bit halves
  }
  static void store_bf16(BFloat16* p, F32 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x));
  }
  static void store_bf16(BFloat16* p, F32 x, int64_t n) {
    BFloat16 all[16];
    store_bf16(all, x);
    memcpy(p, all, static_cast<size_t>(n < 16 ? n : 16) * sizeof(BFloat16));
  }

  static Pairs load_pairs(const BFloat16* p) { return load_words(p); }
  static Pairs load_pairs(const BFloat16* p, int n) {  // n < 32 elements, then zeros
    BFloat16 padded[32] = {};
    memcpy(padded, p, static_cast<size_t>(n) * sizeof(BFloat16));
    return load_words(padded);
  }
  static Pairs broadcast_pair(const BFloat16* p) {
    int32_t pair;
    memcpy(&pair, p, sizeof(pair));
    return {_mm256_set1_epi32(pair), _mm256_set1_epi32(pair)};
  }
  static __m256 odd(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static __m256 even(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static F32 dot2(F32 sum, Pairs a, Pairs b) {
    const F32 with_odd = fma({odd(a.lo), odd(a.hi)}, {odd(b.lo), odd(b.hi)}, sum);
    return fma({even(a.lo), even(a.hi)}, {even(b.lo), even(b.hi)}, with_odd);
  }
  static void prefetch(const BFloat16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  // out[i] = sum of x[i]'s lanes, folded in halves (8, 4, 2, 1).
  template <int N>
  static void fold(float* out, const F32* x) {
    for (int i = 0; i < N; ++i) {
      const __m256 eight = x[i].lo + x[i].hi;
      const __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1);
      const __m128 two = four + _mm_movehl_ps(four, four);
      out[i] = _mm_cvtss_f32(two + _mm_movehdup_ps(two));
    }
  }
};

}  // namespace

extern const KernelTable kAvx2Kernels;
constinit const KernelTable kAvx2Kernels = make_kernel_table<Avx2>("avx2");

}  // namespace lockstep
