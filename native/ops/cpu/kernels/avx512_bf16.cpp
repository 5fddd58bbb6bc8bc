// Compute path "avx512-bf16": AVX-512 F, BW, VL, DQ and BF16 (Zen
// 4 and later, Cooper Lake, Sapphire Rapids and later).
//
// A product of two pairs is one vdpbf16ps: odd element first, then even, each a fused
// multiply-add; denormal inputs and results count as 0 there. (The order was checked
// on Sapphire Rapids and is Intel's and AMD's documented one.)
#include "ops/cpu/kernels/avx512.h"
#include "ops/cpu/kernels/instantiate.h"

namespace lockstep {
namespace {

struct Avx512Bf16 : Avx512 {
  static F32 dot2(F32 sum, Pairs a, Pairs b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

}  // namespace

extern const KernelTable kAvx512Bf16Kernels;
constinit const KernelTable kAvx512Bf16Kernels = make_kernel_table<Avx512Bf16>("avx512-bf16");

}  // namespace lockstep
