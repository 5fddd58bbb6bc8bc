// RMS norms: a row is an item. The arithmetic is kernels/norm.h's.
#include "ops/cpu/cpu_backend.h"

namespace lockstep {

void CpuOps::rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                      float eps) {
  check_shapes(y.rows == x.rows && y.cols == x.cols && std::ssize(weight) == x.cols, "rms_norm",
               "y, x [T, D], weight [D]");
  pool_.for_each(x.rows, {.bytes = 8.0 * x.rows * x.cols}, [&](int64_t row, int) {
    kernels_.rms_norm(y.row(row), x.row(row), weight.data(), x.cols, eps);
  });
}

void CpuOps::add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                      std::span<const BFloat16> weight, float eps) {
  check_shapes(residual.rows == sum.rows && residual.cols == sum.cols && y.rows == sum.rows &&
                   y.cols == sum.cols && std::ssize(weight) == sum.cols,
               "add_norm", "residual, y, sum [T, D], weight [D]");
  pool_.for_each(sum.rows, {.bytes = 16.0 * sum.rows * sum.cols}, [&](int64_t row, int) {
    kernels_.add_norm(residual.row(row), y.row(row), sum.row(row), weight.data(), sum.cols, eps);
  });
}

}  // namespace lockstep
