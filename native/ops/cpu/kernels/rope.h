// Rotary embedding of one head in place, the halves paired as Hugging Face does:
// elements i and i + d / 2 turn by the angle i. float32, two products and one sum
// each, never fused: the same bits on every path. Then BF16.
//
// Per head: 3 d FLOPs, 2 d bytes read and written, 4 d bytes of
// table. Floor: nothing beside the linear layer before.
#pragma once
#include <cstdint>

#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
struct RopeKernel {
  using F32 = typename S::F32;

  static void rotate(BFloat16* x, const float* rope, int d) {
    const int half = d / 2;
    for (int i = 0; i < half; i += 16) {
      const int64_t n = half - i < 16 ? half - i : 16;
      const F32 a = S::widen(x + i, n), b = S::widen(x + half + i, n);
      const F32 c = S::load(rope + i, n), s = S::load(rope + half + i, n);
      S::store_bf16(x + i, a * c - b * s, n);
      S::store_bf16(x + half + i, b * c + a * s, n);
    }
  }
};

}  // namespace lockstep
