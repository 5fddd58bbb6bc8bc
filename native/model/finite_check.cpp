#include "model/finite_check.h"

#include <algorithm>

namespace lockstep {

void FiniteCheck::look(Matrix<const BFloat16> x, NonFinite part) {
  copy_.resize(static_cast<size_t>(x.rows * x.cols));
  ops_.download(copy_.data(), x.data, copy_.size() * sizeof(BFloat16));
  for (size_t row = 0; row < rows_.size(); ++row) {
    const std::span values = std::span(copy_).subspan(row * static_cast<size_t>(x.cols), x.cols);
    constexpr uint16_t kExponent = 0x7f80;
    const bool finite =
        std::ranges::none_of(values, [](BFloat16 value) { return (value.bits & kExponent) == kExponent; });
    if (!finite && rows_[row].part == ModelPart::kNone) rows_[row] = part;
  }
}

}  // namespace lockstep
