#include "ops/cpu/thread_pool.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lockstep {
namespace {

void relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until ready() or for about 30 microseconds: the time that waking a sleeper costs. Returns ready().
template <class Ready>
bool spin(Ready ready) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(30);
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return ready();
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(threads > 1 ? threads - 1 : 0));
  try {
    for (int worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { worker_loop(worker); });
    }
  } catch (...) {  // no more threads to be had: end those that started, and tell the caller
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
  stop_.store(true, std::memory_order_relaxed);
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::claim_and_run(int worker) noexcept {
  while (true) {
    const int64_t left = items_left_.fetch_sub(1, std::memory_order_acquire);
    if (left <= 0) return;
    const int64_t items = items_;
    task_(context_, items - left, worker);
    // The last item's worker wakes the caller; nothing of the job may be touched after this.
    if (items_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == items) items_done_.notify_one();
  }
}

void ThreadPool::run(int64_t items, Task task, void* context) noexcept {
  if (items <= 0) return;
  task_ = task;
  context_ = context;
  items_ = items;
  items_done_.store(0, std::memory_order_relaxed);
  items_left_.store(items, std::memory_order_release);
  jobs_.fetch_add(1, std::memory_order_release);
  jobs_.notify_all();

  claim_and_run(0);
  const auto done = [&] { return items_done_.load(std::memory_order_acquire) == items; };
  if (spin(done)) return;
  for (int64_t seen = items_done_.load(std::memory_order_acquire); seen != items;
       seen = items_done_.load(std::memory_order_acquire)) {
    items_done_.wait(seen, std::memory_order_acquire);  // woken by the last item only
  }
}

void ThreadPool::worker_loop(int worker) noexcept {
  uint32_t seen = 0;
  while (true) {
    const auto changed = [&] { return jobs_.load(std::memory_order_acquire) != seen; };
    if (!spin(changed)) jobs_.wait(seen, std::memory_order_acquire);
    seen = jobs_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    claim_and_run(worker);
  }
}

}  // namespace lockstep
