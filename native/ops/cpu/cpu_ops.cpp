// Construction of the CPU backend, its memory, and the verbs that only move or add rows.
#include "ops/cpu/cpu_ops.h"

#include <cstring>

#include "base/host_memory.h"
#include "ops/cpu/cpu_backend.h"

namespace lockstep {
namespace {

// `held` counts the bytes of all buffers.
class HostBuffer final : public Buffer {
 public:
  HostBuffer(size_t bytes, size_t& held) : memory_(bytes, true), held_(held) { held_ += bytes; }
  ~HostBuffer() override { held_ -= memory_.size_bytes(); }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;
  std::byte* data() noexcept override { return memory_.data(); }
  size_t size_bytes() const noexcept override { return memory_.size_bytes(); }

 private:
  HostMemory memory_;
  size_t& held_;
};

}  // namespace

CpuOps::CpuOps(const KernelTable& kernels, int threads)
    : kernels_(kernels),
      pool_(threads),
      scratch_(std::make_unique_for_overwrite<WorkerScratch[]>(static_cast<size_t>(threads))),
      sampler_(kernels, pool_) {}

std::unique_ptr<Buffer> CpuOps::allocate(size_t bytes) {
  return std::make_unique<HostBuffer>(bytes, held_bytes_);
}

void CpuOps::copy_rows(const char* verb, Matrix<BFloat16> y, Matrix<const BFloat16> x,
                       std::span<const int32_t> rows) {
  check_shapes(y.rows == std::ssize(rows) && y.cols == x.cols, verb, "y [rows, D], x [.., D]");
  for (const int32_t row : rows)
    check_shapes(row >= 0 && row < x.rows, verb, "a row number: it is out of range");
  const size_t bytes = static_cast<size_t>(x.cols) * sizeof(BFloat16);
  pool_.for_each(y.rows, {.bytes = 2.0 * bytes * y.rows},
                 [&](int64_t i, int) { std::memcpy(y.row(i), x.row(rows[static_cast<size_t>(i)]), bytes); });
}

void CpuOps::add(Matrix<float> y, Matrix<const float> x) {
  check_shapes(y.rows == x.rows && y.cols == x.cols, "add", "y, x [T, D]");
  pool_.for_each(y.rows, {.bytes = 12.0 * static_cast<double>(y.rows * y.cols)}, [&](int64_t row, int) {
    for (int64_t i = 0; i < y.cols; ++i) y.row(row)[i] = y.row(row)[i] + x.row(row)[i];
  });
}

void CpuOps::embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) {
  copy_rows("embed", y, table, ids);
}

void CpuOps::gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) {
  copy_rows("gather_rows", y, x, rows);
}

void CpuOps::read_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) {
  copy_rows("read_rows", y, x, rows);
}

}  // namespace lockstep
