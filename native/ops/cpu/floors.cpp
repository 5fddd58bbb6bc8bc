// Both ceilings are the best of several passes: a pass that the host disturbed says nothing about the
// machine. Any thread may call; it is worker 0 of a pool that lives for the call. Must not be fast by leaving
// work out: each pass folds what it reads or computes into a value that the compiler cannot drop.
//
// Reading: the buffer is cut into items of 1 MiB, claimed dynamically. Within an item four streams advance
// side by side, each prefetched 2 KB ahead, as more than one page in flight is what a core needs to keep its
// misses busy.
//
// Multiply-adds: the path's own `linear` kernel on 4 tokens x 8 weight rows x 1,024 elements: 24 KB, which
// stay in L1. On AVX-512-BF16 that is no slower than a loop of vdpbf16ps over registers alone (4th generation
// Xeon, November 2026), so it stands for the peak and needs no second kernel for each path.
#include "ops/cpu/floors.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>

#include "ops/cpu/cpu_backend.h"

namespace lockstep {
namespace {

constexpr int kPasses = 8;

// The best rate of kPasses passes, each of which does `amount`.
template <class Pass>
double best_rate(double amount, Pass pass) {
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pass();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, amount / seconds.count());
  }
  return best;
}

constexpr size_t kItemWords = (1 << 20) / sizeof(uint64_t);
constexpr size_t kStreams = 4;
constexpr size_t kStreamWords = kItemWords / kStreams;
constexpr size_t kLineWords = 64 / sizeof(uint64_t);

uint64_t read_item(const uint64_t* item) noexcept {
  uint64_t folded[kLineWords] = {};
  for (size_t at = 0; at < kStreamWords; at += kLineWords) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const uint64_t* const line = item + stream * kStreamWords + at;
      __builtin_prefetch(line + 2048 / sizeof(uint64_t));  // beyond the end it does nothing
      for (size_t i = 0; i < kLineWords; ++i) folded[i] ^= line[i];
    }
  }
  uint64_t result = 0;
  for (const uint64_t word : folded) result ^= word;
  return result;
}

double measure_reading(ThreadPool& pool, size_t buffer_bytes) {
  const size_t items = std::max<size_t>(1, buffer_bytes / (kItemWords * sizeof(uint64_t)));
  const auto buffer = std::make_unique_for_overwrite<uint64_t[]>(items * kItemWords);
  std::atomic<uint64_t> sink{0};
  const Work work{.bytes = static_cast<double>(items) * kItemWords * sizeof(uint64_t)};
  // The threads that read are those that touch first, so that pages lie near them.
  pool.for_each(static_cast<int64_t>(items), work, [&](int64_t item, int) {
    std::fill_n(buffer.get() + static_cast<size_t>(item) * kItemWords, kItemWords, uint64_t{1});
  });
  return best_rate(work.bytes, [&] {
    pool.for_each(static_cast<int64_t>(items), work, [&](int64_t item, int) {
      sink.fetch_xor(read_item(buffer.get() + static_cast<size_t>(item) * kItemWords),
                     std::memory_order_relaxed);
    });
  });
}

double measure_multiply_adds(ThreadPool& pool, const KernelTable& kernels) {
  constexpr int kTokens = 4, kRows = 8, kK = 1024;
  constexpr double kCallFlops = 2.0 * kTokens * kRows * kK;
  struct Tile {
    alignas(64) BFloat16 values[(kTokens + kRows) * kK];
    float y[kTokens * kRows];
  };
  const auto tiles = std::make_unique<Tile[]>(static_cast<size_t>(pool.threads()));  // zeros
  const auto compute = [&](int calls, int items) {
    const Work work{.flops = kCallFlops * calls * items};
    pool.for_each(items, work, [&](int64_t, int worker) {
      Tile& tile = tiles[static_cast<size_t>(worker)];
      const BFloat16* const w = tile.values + kTokens * kK;
      const LinearBlock block{tile.y, kRows, tile.values, kK, w, kK, kTokens, kRows, kK, 1};
      for (int call = 0; call < calls; ++call) kernels.linear(block);  // behind a pointer: not dropped
    });
  };
  const auto start = std::chrono::steady_clock::now();
  compute(100, 1);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const int calls = std::max(1, static_cast<int>(100 * 0.002 / seconds.count()));  // 2 ms an item
  const int items = 20 * pool.threads();
  return best_rate(kCallFlops * calls * items, [&] { compute(calls, items); });
}

}  // namespace

Floors measure_cpu_floors(const std::string& path, int threads, size_t buffer_bytes) {
  const KernelTable& kernels = find_kernels(path);
  if (threads < 1) throw Error("ENGINE_FAILED", "measure_cpu_floors: threads must be 1 or more");
  try {
    ThreadPool pool(threads);
    return {.read_bytes_per_second = measure_reading(pool, buffer_bytes),
            .flops_per_second = measure_multiply_adds(pool, kernels),
            .buffer_bytes = buffer_bytes};
  } catch (const std::bad_alloc&) {
    throw Error("OUT_OF_MEMORY", "No memory for a buffer of " + std::to_string(buffer_bytes) + " bytes");
  }
}

}  // namespace lockstep
