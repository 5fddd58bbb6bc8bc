// Element-wise: rounding to BF16, SiLU(gate) * up, and the exponential that attention and sampling share.
//
// round: 4 n bytes read, 2 n written. silu_mul: 8 n bytes read, 2 n written, about 25 FLOPs an element.
// Floor: both run on data that the linear layer has just left in L1.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/table.h"

namespace lockstep {

// exp on 16 lanes. exp(0) is exactly 1; 0 below -87.33; +inf above 88.72; NaN stays NaN. At most 2 ulp off
// (tests/ops/kernels.test.ts). Polynomial of degree 7 on |r| <= ln 2 / 2 after Cody and Waite's reduction.
template <class S>
struct Exponential {
  using F32 = typename S::F32;

  static F32 exp(F32 x) {
    constexpr float kLowest = -87.33f, kHighest = 88.72f;
    // The operand order keeps a NaN: min(a, b) is a < b ? a : b.
    const F32 clamped = S::max(S::set1(kLowest), S::min(S::set1(kHighest), x));
    const F32 n = round(clamped * S::set1(1.44269504f));
    // ln 2 in two pieces; n * the first is exact.
    F32 r = S::fma(n, S::set1(-0.693359375f), clamped);
    r = S::fma(n, S::set1(2.12194440e-4f), r);
    F32 p = S::set1(1.0f / 5040);
    p = S::fma(p, r, S::set1(1.0f / 720));
    p = S::fma(p, r, S::set1(1.0f / 120));
    p = S::fma(p, r, S::set1(1.0f / 24));
    p = S::fma(p, r, S::set1(1.0f / 6));
    p = S::fma(p, r, S::set1(0.5f));
    p = S::fma(p * r, r, r) + S::set1(1.0f);
    const F32 half = round(n * S::set1(0.5f));  // 2^n in two factors: n reaches 128
    const F32 y = p * S::pow2(half) * S::pow2(n - half);
    const F32 low = S::select(S::less(x, S::set1(kLowest)), S::zero(), y);
    return S::select(S::less(S::set1(kHighest), x), S::set1(__builtin_inff()), low);
  }

  static F32 round(F32 x) {  // to an integer, halves to even, |x| < 2^22
    const F32 shift = S::set1(0x1.8p23f);
    return (x + shift) - shift;
  }
};

template <class S>
struct ActivationKernel {
  using F32 = typename S::F32;

  static void round(BFloat16* y, const float* x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) S::store_bf16(y + i, S::load(x + i));
    if (i < n) S::store_bf16(y + i, S::load(x + i, n - i), n - i);
  }

  static F32 silu_mul(F32 gate, F32 up) {
    const F32 g = S::round_bf16(gate), u = S::round_bf16(up);
    return g / (S::set1(1.0f) + Exponential<S>::exp(S::zero() - g)) * u;
  }

  static void silu_mul(BFloat16* y, const float* gate, const float* up, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) S::store_bf16(y + i, silu_mul(S::load(gate + i), S::load(up + i)));
    if (i < n) S::store_bf16(y + i, silu_mul(S::load(gate + i, n - i), S::load(up + i, n - i)), n - i);
  }

  static void exp(float* y, const float* x, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) S::store(y + i, Exponential<S>::exp(S::load(x + i)));
    if (i < n) S::store(y + i, Exponential<S>::exp(S::load(x + i, n - i)), n - i);
  }
};

}  // namespace lockstep
