// What base/math.h declares, as constexpr functions: the one source of these values on the CPU and on a GPU
// (nvcc compiles constexpr functions for both). Included by base/math.cpp and by kernels; everybody else uses
// base/math.h.
#pragma once
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "base/math.h"

namespace lockstep::functions {

// Adding and subtracting this rounds a double below 2^51 to an integer, halves to even; the low bits of the
// sum are that integer. Needs the default rounding mode and no reassociation.
inline constexpr double kRound = 0x1.8p52;

constexpr double power_of_two(int64_t n) noexcept {  // -1022 <= n <= 1023
  return std::bit_cast<double>(static_cast<uint64_t>(n + 1023) << 52);
}

struct Rounded {
  double value;
  int64_t integer;
};

constexpr Rounded round_to_integer(double x) noexcept {  // |x| < 2^51
  const double shifted = x + kRound;
  return {shifted - kRound, std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kRound)};
}

// ln 2 and pi / 2 in pieces whose products with a small integer are exact (33 bits each).
inline constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
inline constexpr double kHalfPi1 = 1.57079632673412561417e+00, kHalfPi2 = 6.07710050630396597660e-11;
inline constexpr double kHalfPi3 = 2.02226624871116645580e-21, kHalfPi3Tail = 8.47842766036889956997e-32;

// Taylor polynomials for |r| <= pi / 4; the first term left out is below 2^-60.
constexpr double sin_polynomial(double r) noexcept {
  const double z = r * r;
  double p = -1.0 / 121645100408832000.0;  // -1/19!
  p = p * z + 1.0 / 355687428096000.0;
  p = p * z - 1.0 / 1307674368000.0;
  p = p * z + 1.0 / 6227020800.0;
  p = p * z - 1.0 / 39916800.0;
  p = p * z + 1.0 / 362880.0;
  p = p * z - 1.0 / 5040.0;
  p = p * z + 1.0 / 120.0;
  p = p * z - 1.0 / 6.0;
  return r + r * z * p;
}

constexpr double cos_polynomial(double r) noexcept {
  const double z = r * r;
  double p = -1.0 / 6402373705728000.0;  // -1/18!
  p = p * z + 1.0 / 20922789888000.0;
  p = p * z - 1.0 / 87178291200.0;
  p = p * z + 1.0 / 479001600.0;
  p = p * z - 1.0 / 3628800.0;
  p = p * z + 1.0 / 40320.0;
  p = p * z - 1.0 / 720.0;
  p = p * z + 1.0 / 24.0;
  return (1.0 - 0.5 * z) + z * z * p;
}

constexpr double exp(double x) noexcept {
  if (x != x) return x;
  if (x < -746.0) return 0.0;
  if (x > 710.0) return std::numeric_limits<double>::infinity();
  const auto [n, integer] = round_to_integer(x * 1.44269504088896340736);
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| <= ln 2 / 2
  double p = 1.0 / 87178291200.0;                     // 1/14!
  p = p * r + 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  const double y = 1.0 + (r + r * r * p);
  const int64_t half = integer / 2;  // two steps, so that neither factor leaves the range of a double
  return y * power_of_two(half) * power_of_two(integer - half);
}

constexpr double log(double x) noexcept {
  if (x != x || x == std::numeric_limits<double>::infinity()) return x;
  if (x == 0.0) return -std::numeric_limits<double>::infinity();
  if (x < 0.0) return std::numeric_limits<double>::quiet_NaN();
  int64_t exponent = 0;
  if (x < std::numeric_limits<double>::min()) {  // denormal
    x *= 0x1p54;
    exponent = -54;
  }
  // x = 2^exponent * m with m in [sqrt(1/2), sqrt(2)): the
  // constant is the pattern of sqrt(1/2), rounded down.
  const uint64_t kSqrtHalf = 0x3fe6a09e00000000;
  const uint64_t offset = std::bit_cast<uint64_t>(x) - kSqrtHalf;
  exponent += static_cast<int64_t>(offset) >> 52;
  const double m = std::bit_cast<double>((offset & 0x000fffffffffffff) + kSqrtHalf);

  // log m = 2 atanh(f), f = (m - 1) / (m + 1), |f| <= 0.1716. In m - 1 = g: 2 f = g - f g, which keeps the
  // leading term exact where m is near 1.
  const double g = m - 1.0;
  const double f = g / (m + 1.0);
  const double z = f * f;
  double p = 1.0 / 23.0;
  p = p * z + 1.0 / 21.0;
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  const double e = static_cast<double>(exponent);
  const double correction = f * g - 2.0 * f * z * p;  // log m = g - correction
  return e * kLn2High + (g - (correction - e * kLn2Low));
}

constexpr SinCos sincos(double x) noexcept {
  if (!(x - x == 0.0)) return {x - x, x - x};  // NaN and infinities
  const auto [n, quadrant] = round_to_integer(x * 6.36619772367581382433e-01);
  double r = x - n * kHalfPi1;
  r = r - n * kHalfPi2;
  r = r - n * kHalfPi3;
  r = r - n * kHalfPi3Tail;
  const double s = sin_polynomial(r), c = cos_polynomial(r);
  switch (quadrant & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c,
                                             std::array<uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return c;
}

}  // namespace lockstep::functions
