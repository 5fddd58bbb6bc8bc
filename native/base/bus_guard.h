// Survives SIGBUS in mapped files: where a file has been cut short under its mapping (or its device fails), a
// read beyond what is left gets zeros and the range is marked as lost, instead of the process being killed.
//
// The process's SIGBUS handler is installed with the first range and stays. It touches a fixed table of
// atomics only, takes no lock and allocates nothing; a fault outside all ranges goes on to whoever handled
// SIGBUS before. Any thread.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace lockstep {

// The addresses [data, data + size_bytes) are guarded while the object lives: it is made after the mapping
// and destroyed before it, when nobody reads any more.
class BusGuard {
 public:
  // Throws Error("OUT_OF_MEMORY") where too many ranges are guarded at once.
  BusGuard(const void* data, size_t size_bytes);
  ~BusGuard();
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

  // True from the first read that got zeros on.
  bool lost() const noexcept { return range_->lost.load(std::memory_order_acquire); }

  struct Range {
    std::atomic<uintptr_t> begin = 0;  // 0: free; kClaimed: being filled in
    std::atomic<uintptr_t> end = 0;
    std::atomic<bool> lost = false;
  };

 private:
  Range* range_;
};

}  // namespace lockstep
