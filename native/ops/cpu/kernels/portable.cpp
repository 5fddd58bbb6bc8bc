// Compute path "portable": plain C++ on four vectors of four lanes (SSE2, NEON, or scalars: the compiler's
// choice). The reference for the others and the way onto CPUs that have no path of their own.
//
// Products are not fused: mul, then add. A product of two BF16 values is exact in float32, so the linear
// layers give the same bits as "avx512-bf16" wherever no denormal appears; norms, attention and exponentials
// differ by rounding.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/cpu/kernels/instantiate.h"

namespace lockstep {
namespace {

typedef float Float4 __attribute__((vector_size(16)));
typedef uint32_t Uint4 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));

struct Portable {
  struct F32 {
    Float4 q[4];

    friend F32 operator+(F32 a, F32 b) {
      return {a.q[0] + b.q[0], a.q[1] + b.q[1], a.q[2] + b.q[2], a.q[3] + b.q[3]};
    }
    friend F32 operator-(F32 a, F32 b) {
      return {a.q[0] - b.q[0], a.q[1] - b.q[1], a.q[2] - b.q[2], a.q[3] - b.q[3]};
    }
    friend F32 operator*(F32 a, F32 b) {
      return {a.q[0] * b.q[0], a.q[1] * b.q[1], a.q[2] * b.q[2], a.q[3] * b.q[3]};
    }
    friend F32 operator/(F32 a, F32 b) {
      return {a.q[0] / b.q[0], a.q[1] / b.q[1], a.q[2] / b.q[2], a.q[3] / b.q[3]};
    }
  };
  struct Pairs {
    Uint4 q[4];  // 16 pairs of BF16: the even element in the low half (little-endian)
  };
  struct Mask {
    Int4 q[4];  // all ones or all zeros
  };

  static constexpr int kTileM = 2, kTileN = 1;  // 8 accumulators of 16 registers

  template <class Function>
  static F32 each(Function f) {  // f(i): the i-th four lanes
    return {f(0), f(1), f(2), f(3)};
  }
  static Uint4 bits(Float4 x) { return reinterpret_cast<Uint4>(x); }
  static Float4 floats(Uint4 x) { return reinterpret_cast<Float4>(x); }

  static F32 zero() { return set1(0.0f); }
  static F32 set1(float x) {
    const Float4 v = {x, x, x, x};
    return {v, v, v, v};
  }
  static float lane0(const F32& x) { return x.q[0][0]; }
  static F32 load(const float* p) { return load(p, 16); }
  static F32 load(const float* p, int64_t n) {
    F32 x = zero();
    memcpy(&x, p, static_cast<size_t>(n < 16 ? n : 16) * sizeof(float));
    return x;
  }
  static void store(float* p, const F32& x) { memcpy(p, &x, sizeof(x)); }
  static void store(float* p, const F32& x, int64_t n) {
    memcpy(p, &x, static_cast<size_t>(n) * sizeof(float));
  }

  static Mask lanes_below(int64_t n) {
    const int32_t limit = n < 16 ? static_cast<int32_t>(n) : 16;
    const Int4 lanes = {0, 1, 2, 3};
    return {{lanes < limit, lanes + 4 < limit, lanes + 8 < limit, lanes + 12 < limit}};
  }
  static Mask less(const F32& a, const F32& b) {
    return {{a.q[0] < b.q[0], a.q[1] < b.q[1], a.q[2] < b.q[2], a.q[3] < b.q[3]}};
  }
  static Mask equal(const F32& a, const F32& b) {
    return {{a.q[0] == b.q[0], a.q[1] == b.q[1], a.q[2] == b.q[2], a.q[3] == b.q[3]}};
  }
  static F32 select(const Mask& mask, const F32& yes, const F32& no) {
    return each([&](int i) { return mask.q[i] ? yes.q[i] : no.q[i]; });
  }
  static uint32_t mask_bits(const Mask& mask) {
    uint32_t all = 0;
    for (int i = 0; i < 16; ++i) all |= (static_cast<uint32_t>(mask.q[i / 4][i % 4]) & 1u) << i;
    return all;
  }

  static F32 fma(const F32& a, const F32& b, const F32& c) { return a * b + c; }
  static F32 min(const F32& a, const F32& b) { return select(less(a, b), a, b); }
  static F32 max(const F32& a, const F32& b) { return select(less(b, a), a, b); }
  static float reduce_max(const F32& x) {
    float lanes[16];
    store(lanes, x);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    }
    return lanes[0];
  }

  // 2^n for whole n in [-126, 127]: the low bits of n + 1.5 * 2^23 are n.
  static F32 pow2(const F32& n) {
    const F32 shifted = n + set1(0x1.8p23f);
    return each([&](int i) { return floats((bits(shifted.q[i]) << 23) + 0x3f800000u); });
  }

  static F32 upper24(const uint32_t* words) {
    Pairs x;
    memcpy(&x, words, sizeof(x));
    return each([&](int i) { return __builtin_convertvector(reinterpret_cast<Int4>(x.q[i] >> 8), Float4); });
  }

  // ---- BF16 ----

  static F32 widen(const BFloat16* p) { return widen(p, 16); }
  static F32 widen(const BFloat16* p, int64_t n) {
    uint16_t halves[16] = {};
    memcpy(halves, p, static_cast<size_t>(n < 16 ? n : 16) * sizeof(uint16_t));
    F32 x;
    for (int i = 0; i < 16; ++i) {
      const uint32_t bits = static_cast<uint32_t>(halves[i]) << 16;
      memcpy(reinterpret_cast<char*>(&x) + 4 * i, &bits, sizeof(bits));
    }
    return x;
  }

  // Round to nearest even in the upper halves; a NaN stays one (quiet).
  static Uint4 round_bits(Float4 x) {
    const Uint4 rounded = bits(x) + ((bits(x) >> 16) & 1u) + 0x7fffu;
    return x != x ? bits(x) | 0x00400000u : rounded;
  }
  static F32 round_bf16(const F32& x) {
    return each([&](int i) { return floats(round_bits(x.q[i]) & 0xffff0000u); });
  }
  static void store_bf16(BFloat16* p, const F32& x) { store_bf16(p, x, 16); }
  static void store_bf16(BFloat16* p, const F32& x, int64_t n) {
    uint16_t halves[16];
    for (int i = 0; i < 4; ++i) {
      const Uint4 rounded = round_bits(x.q[i]) >> 16;
      for (int j = 0; j < 4; ++j) halves[4 * i + j] = static_cast<uint16_t>(rounded[j]);
    }
    memcpy(p, halves, static_cast<size_t>(n < 16 ? n : 16) * sizeof(uint16_t));
  }

  static Pairs load_pairs(const BFloat16* p) {
    Pairs x;
    memcpy(&x, p, sizeof(x));
    return x;
  }
  static Pairs load_pairs(const BFloat16* p, int n) {  // n < 32 elements, then zeros
    Pairs x = {};
    memcpy(&x, p, static_cast<size_t>(n) * sizeof(uint16_t));
    return x;
  }
  static Pairs broadcast_pair(const BFloat16* p) {
    uint32_t pair;
    memcpy(&pair, p, sizeof(pair));
    const Uint4 v = {pair, pair, pair, pair};
    return {{v, v, v, v}};
  }
  static F32 dot2(const F32& sum, const Pairs& a, const Pairs& b) {
    return each([&](int i) {
      const Float4 odd = floats(a.q[i] & 0xffff0000u) * floats(b.q[i] & 0xffff0000u);
      const Float4 even = floats(a.q[i] << 16) * floats(b.q[i] << 16);
      return (sum.q[i] + odd) + even;
    });
  }
  static void prefetch(const BFloat16* p) { __builtin_prefetch(p); }

  // out[i] = sum of x[i]'s lanes, folded in halves.
  template <int N>
  static void fold(float* out, const F32* x) {
    for (int i = 0; i < N; ++i) {
      const Float4 v = (x[i].q[0] + x[i].q[2]) + (x[i].q[1] + x[i].q[3]);
      out[i] = (v[0] + v[2]) + (v[1] + v[3]);
    }
  }
};

}  // namespace

extern const KernelTable kPortableKernels;
constinit const KernelTable kPortableKernels = make_kernel_table<Portable>("portable");

}  // namespace lockstep
