// RMS norm of one row: y = bf16(bf16(x / sqrt(mean(x^2) + eps)) * weight), and the residual sum before it.
//
// Order of the sum of squares: lane i of 16 takes the elements 16 v + i, v ascending, fused where the
// instruction set fuses; tail zero-padded; lanes folded in halves. Per row: about 6 n FLOPs; 4 n bytes read
// (8 n more with the residual sum), 2 n written (4 n). Floor: L2 bandwidth.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
struct NormKernel {
  using F32 = typename S::F32;

  static F32 normalise(F32 x, F32 weight, F32 scale) { return S::round_bf16(x * scale) * weight; }

  static void rms_norm(BFloat16* y, const BFloat16* x, const BFloat16* weight, int64_t n, float eps) {
    F32 squares = S::zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const F32 v = S::widen(x + i);
      squares = S::fma(v, v, squares);
    }
    if (i < n) {
      const F32 v = S::widen(x + i, n - i);
      squares = S::fma(v, v, squares);
    }
    float sum;
    S::template fold<1>(&sum, &squares);
    // Square root and division are correctly rounded everywhere.
    const F32 scale = S::set1(1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps));
    for (i = 0; i + 16 <= n; i += 16)
      S::store_bf16(y + i, normalise(S::widen(x + i), S::widen(weight + i), scale));
    if (i < n) {
      S::store_bf16(y + i, normalise(S::widen(x + i, n - i), S::widen(weight + i, n - i), scale), n - i);
    }
  }

  static void add_norm(BFloat16* residual, BFloat16* y, const float* sum, const BFloat16* weight, int64_t n,
                       float eps) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      S::store_bf16(residual + i, S::widen(residual + i) + S::round_bf16(S::load(sum + i)));
    }
    if (i < n) {
      S::store_bf16(residual + i, S::widen(residual + i, n - i) + S::round_bf16(S::load(sum + i, n - i)),
                    n - i);
    }
    rms_norm(y, residual, weight, n, eps);
  }
};

}  // namespace lockstep
