// All ceilings are the best of several passes, each timed by events. The calling thread only waits.
//
// Reading: 16 bytes a thread and load, four loads under way, blocks enough to fill every multiprocessor several times.
// Copying: the same and a store. The buffers are larger than the L2 cache four times over.
//
// Multiply-adds: on Hopper wgmma as linear_sm90.cu issues it, elsewhere mma.sync on registers, independent sums enough
// to hide its latency. Operands are no zeros: those would need less power, and clock higher, than a model's.
#include <algorithm>
#include <functional>
#include <memory>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/floors.h"
#include "ops/cuda/floors_sm90.cuh"
#include "ops/cuda/launch.h"
#include "ops/cuda/ptx.h"

namespace lockstep::cuda {
namespace {

constexpr int kPasses = 8;
constexpr int kThreads = 256, kBlocksEach = 8;  // per multiprocessor
constexpr int kSums = 8;                        // independent, of a warp
constexpr double kPassSeconds = 0.002;          // of multiply-adds, at least

// Loads that the compiler can neither drop nor put one behind the other.
__global__ void read_kernel(const uint4* from, size_t count, unsigned* sink) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  unsigned folded = 0;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i + 3 * step < count; i += 4 * step) {
    const uint4 a = from[i], b = from[i + step], c = from[i + 2 * step], d = from[i + 3 * step];
    folded ^= a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w;
    folded ^= c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  if (folded == 0x9e3779b9u) *sink = folded;
}

__global__ void copy_kernel(uint4* to, const uint4* from, size_t count) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i + 3 * step < count; i += 4 * step) {
    const uint4 a = from[i], b = from[i + step], c = from[i + 2 * step], d = from[i + 3 * step];
    to[i] = a, to[i + step] = b, to[i + 2 * step] = c, to[i + 3 * step] = d;
  }
}

__global__ void multiply_kernel(int rounds, float* sink) {
  const uint32_t seed = threadIdx.x * 2654435761u;
  const uint32_t a[4] = {operand_bits(seed), operand_bits(seed + 1), operand_bits(seed + 2),
                         operand_bits(seed + 3)};
  const uint32_t b[2] = {operand_bits(seed + 4), operand_bits(seed + 5)};
  float sums[kSums][4] = {};
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int i = 0; i < kSums; ++i) mma_bf16(sums[i], a, b);
  float total = 0;
  for (int i = 0; i < kSums; ++i) total += sums[i][0] + sums[i][1] + sums[i][2] + sums[i][3];
  if (total == 12345.0f) *sink = total;
}

// ---- launchers ----

class Measurement {
 public:
  Measurement(int device, size_t wanted_bytes) : ops_(device, "", false) {
    int l2_bytes = 0;
    check(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, device), "asking the device");
    const size_t enough = std::max(5 * static_cast<size_t>(l2_bytes), size_t{1} << 30);
    const size_t bytes = wanted_bytes > 0 ? wanted_bytes : std::min(enough, ops_.free_bytes() / 4);
    // Whole turns of every thread's loop.
    const size_t turn = size_t{4} * sizeof(uint4) * kThreads * blocks();
    bytes_ = std::max<size_t>(1, bytes / turn) * turn;
    from_ = ops_.allocate(bytes_);
    to_ = ops_.allocate(bytes_);
    check(cudaEventCreate(&begin_), "making an event");
    check(cudaEventCreate(&end_), "making an event");
  }
  ~Measurement() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  Floors run() {
    const auto* const from = reinterpret_cast<const uint4*>(from_->data());
    auto* const to = reinterpret_cast<uint4*>(to_->data());
    const size_t count = bytes_ / 16;
    const double bytes = static_cast<double>(bytes_);
    Floors floors;
    floors.buffer_bytes = bytes_;
    floors.read_bytes_per_second = best_rate(
        bytes, [&] { launch(how("read", 0), read_kernel, from, count, reinterpret_cast<unsigned*>(to)); });
    floors.copy_bytes_per_second =
        best_rate(2 * bytes, [&] { launch(how("copy", 0), copy_kernel, to, from, count); });
    floors.flops_per_second = multiply_adds();
    return floors;
  }

 private:
  unsigned blocks() { return static_cast<unsigned>(kBlocksEach * ops_.stream().multiprocessors()); }

  Launch how(const char* name, size_t shared_bytes) {
    return {.name = name,
            .grid = dim3(blocks()),
            .block = dim3(kThreads),
            .shared_bytes = shared_bytes,
            .stream = ops_.stream(),
            .bytes = 0,
            .flops = 0};
  }

  double multiply_adds() {
    auto* const sink = reinterpret_cast<float*>(to_->data());
    const bool wgmma = ops_.stream().has_wgmma();
    const auto launch_rounds = [&](int rounds) {
      if (wgmma)
        multiply_sm90(how("multiply_sm90", kSlabBytes), rounds, sink);
      else
        launch(how("multiply", 0), multiply_kernel, rounds, sink);
    };
    const double of_warp = 2.0 * 16 * 8 * 16 * kSums;
    const double per_round = blocks() * (wgmma ? kThreads / 128 * kRoundFlops : kThreads / 32 * of_warp);
    int rounds = 1;
    while (seconds_of([&] { launch_rounds(rounds); }) < kPassSeconds && rounds < 1 << 20) rounds *= 2;
    return best_rate(per_round * rounds, [&] { launch_rounds(rounds); });
  }

  double seconds_of(const std::function<void()>& pass) {
    Stream& stream = ops_.stream();
    check(cudaEventRecord(begin_, stream.get()), "timing");
    pass();
    check(cudaEventRecord(end_, stream.get()), "timing");
    stream.synchronize();
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin_, end_), "timing");
    return static_cast<double>(ms) / 1e3;
  }

  double best_rate(double amount, const std::function<void()>& pass) {
    double best = 0;
    for (int i = 0; i < kPasses; ++i) best = std::max(best, amount / seconds_of(pass));
    return best;
  }

  CudaOps ops_;
  size_t bytes_ = 0;
  std::unique_ptr<Buffer> from_, to_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

Floors measure_cuda_floors(int device, size_t buffer_bytes) {
  return Measurement(device, buffer_bytes).run();
}

}  // namespace lockstep::cuda
