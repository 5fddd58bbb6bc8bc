// Compute path "avx512": AVX-512 F, BW, VL and DQ without BF16 (Skylake-SP to Ice Lake).
//
// A product of two pairs is two fused multiply-adds, odd element first, then even, as vdpbf16ps does it: the
// linear layers give the same bits as "avx512-bf16" wherever no denormal appears (seen on a Sapphire Rapids).
#include "ops/cpu/kernels/avx512.h"

#include "ops/cpu/kernels/instantiate.h"

namespace lockstep {
namespace {

struct Avx512Fma : Avx512 {
  static F32 odd(Pairs x) {
    return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static F32 even(Pairs x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
  static F32 dot2(F32 sum, Pairs a, Pairs b) { return fma(even(a), even(b), fma(odd(a), odd(b), sum)); }
};

}  // namespace

extern const KernelTable kAvx512Kernels;
constinit const KernelTable kAvx512Kernels = make_kernel_table<Avx512Fma>("avx512");

}  // namespace lockstep
