// The step's table of rotary cosines and sines. The rotation itself is kernels/rope.h's, run by project_qkv.
#include "base/math.h"
#include "ops/cpu/cpu_backend.h"

namespace lockstep {

// As transformers computes it: the angle is a float32 product, its cosine rounded to float32, then scaled in
// float32 (YaRN's attention factor). The double in between is base/math's, so no C library is involved.
void CpuOps::rope_table(Matrix<float> table, std::span<const int32_t> positions,
                        std::span<const float> inv_freq, float scale) {
  const int64_t half = std::ssize(inv_freq);
  check_shapes(table.rows == std::ssize(positions) && table.cols == 2 * half, "rope_table",
               "table [T, d], positions [T], inv_freq [d / 2]");
  pool_.for_each(table.rows, {.flops = 3000.0 * table.rows * half}, [&](int64_t row, int) {
    const float position = static_cast<float>(positions[static_cast<size_t>(row)]);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = position * inv_freq[static_cast<size_t>(i)];
      const auto [sin, cos] = det_sincos(angle);
      table.row(row)[i] = static_cast<float>(cos) * scale;
      table.row(row)[half + i] = static_cast<float>(sin) * scale;
    }
  });
}

}  // namespace lockstep
