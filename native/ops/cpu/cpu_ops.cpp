// Construction of the CPU backend, its memory, and the verbs that only move or add rows.
#include "ops/cpu/cpu_ops.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "ops/cpu/cpu_backend.h"

namespace lockstep {
namespace {

// Anonymous memory: zeroed, and committed page by page on first touch. `held` counts the bytes of all buffers.
class MappedBuffer final : public Buffer {
 public:
  MappedBuffer(size_t bytes, size_t& held) : bytes_(bytes), held_(held) {
    if (bytes == 0) return;
    void* const address =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) {
      throw Error("OUT_OF_MEMORY",
                  "Cannot reserve " + std::to_string(bytes) + " bytes: " + std::strerror(errno));
    }
    data_ = static_cast<std::byte*>(address);
    held_ += bytes_;
  }
  ~MappedBuffer() override {
    if (data_ == nullptr) return;
    munmap(data_, bytes_);
    held_ -= bytes_;
  }
  MappedBuffer(const MappedBuffer&) = delete;
  MappedBuffer& operator=(const MappedBuffer&) = delete;
  std::byte* data() noexcept override { return data_; }
  size_t size_bytes() const noexcept override { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  const size_t bytes_;
  size_t& held_;
};

}  // namespace

CpuOps::CpuOps(const KernelTable& kernels, int threads)
    : kernels_(kernels),
      pool_(threads),
      scratch_(std::make_unique_for_overwrite<WorkerScratch[]>(static_cast<size_t>(threads))),
      sampler_(kernels, pool_) {}

std::unique_ptr<Buffer> CpuOps::allocate(size_t bytes) {
  return std::make_unique<MappedBuffer>(bytes, held_bytes_);
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
