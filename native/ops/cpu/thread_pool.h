// Fork-join over the threads of one rank: run(items, task) calls task(context, item, worker) once for each
// item and returns when all are done. The calling thread is worker 0 and takes part; the others spin briefly
// after a job, in case the next verb follows at once, and then sleep.
//
// run() is called by one thread at a time and not from inside a task. Tasks do not throw (the type says so)
// and must not depend on which worker runs an item: items are claimed dynamically, so a thread that the host
// has put to sleep holds up nothing but the item it is in.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace lockstep {

// What a verb is about to do, to judge whether waking the workers pays. The rates are one slow core's.
struct Work {
  double bytes = 0;
  double flops = 0;
  double nanoseconds() const noexcept { return bytes / 10 + flops / 50; }
};

class ThreadPool {
 public:
  using Task = void (*)(void* context, int64_t item, int worker) noexcept;

  explicit ThreadPool(int threads);  // >= 1, the calling thread included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t items, Task task, void* context) noexcept;

  // function(item, worker) for each item. Below kWakeWorth everything runs inline, since waking a sleeping
  // thread costs about as much. Where an item runs cannot change its bits.
  template <class Function>
  void for_each(int64_t items, Work work, Function&& function) noexcept {
    using Body = std::remove_reference_t<Function>;
    const Task task = [](void* context, int64_t item, int worker) noexcept {
      (*static_cast<Body*>(context))(item, worker);
    };
    void* const context = const_cast<void*>(static_cast<const void*>(&function));
    if (work.nanoseconds() < kWakeWorth || items <= 1 || workers_.empty()) {
      for (int64_t i = 0; i < items; ++i) task(context, i, 0);
    } else {
      run(items, task, context);
    }
  }

  static constexpr double kWakeWorth = 20e3;  // nanoseconds

 private:
  void stop() noexcept;
  void worker_loop(int worker) noexcept;
  void claim_and_run(int worker) noexcept;

  // The job. Written by run() before items_left_ is, and read by a worker only after it has claimed an item,
  // so that the job cannot end, and these cannot change, before that item is done. A claim that comes too
  // late gets nothing.
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t items_ = 0;

  alignas(64) std::atomic<int64_t> items_left_{0};  // unclaimed; negative where claims came too late
  alignas(64) std::atomic<int64_t> items_done_{0};
  alignas(64) std::atomic<uint32_t> jobs_{0};  // counts run(); workers sleep on it
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace lockstep
