#include "base/math_functions.h"

namespace lockstep {

double det_exp(double x) noexcept { return functions::exp(x); }
double det_log(double x) noexcept { return functions::log(x); }
SinCos det_sincos(double x) noexcept { return functions::sincos(x); }

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) noexcept {
  return functions::philox4x32(counter, key);
}

}  // namespace lockstep
