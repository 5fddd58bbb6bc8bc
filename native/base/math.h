// Scalar mathematics whose bits do not depend on the C library: + - * / and bit patterns only, compiled
// without contraction. For the few values a step needs beside the vector kernels: rope angles, log-sum-exp
// merges, the draw. Pure functions, any thread. Accuracy (tests/ops/kernels.test.ts): 3 ulp.
#pragma once
#include <array>
#include <cstdint>

namespace lockstep {

// exp(0) is exactly 1; 0 below about -745.2, +inf above about 709.8; NaN stays NaN.
double det_exp(double x) noexcept;

// det_log(0) is -inf, of a negative number NaN. Relative accuracy holds near 1, too.
double det_log(double x) noexcept;

struct SinCos {
  double sin, cos;
};
// For |x| up to 1e6: absolute error below 2^-52. Beyond that the error grows with |x|; NaN for infinities.
SinCos det_sincos(double x) noexcept;

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four random words that
// are a function of the counter and the key, of nothing else.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) noexcept;

}  // namespace lockstep
