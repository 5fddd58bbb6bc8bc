// Anonymous host memory: zeroed, committed page by page on first touch, and given back to the system as soon as
// it is released (malloc keeps what it likes). Any thread.
#pragma once
#include <cstddef>

namespace lockstep {

class HostMemory {
 public:
  HostMemory() = default;
  // `overcommit`: address space only, though the machine may not have as much memory. Throws
  // Error("OUT_OF_MEMORY").
  HostMemory(size_t bytes, bool overcommit);
  ~HostMemory();
  HostMemory(HostMemory&& other) noexcept;
  HostMemory& operator=(HostMemory&& other) noexcept;

  std::byte* data() const noexcept { return data_; }
  size_t size_bytes() const noexcept { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace lockstep
