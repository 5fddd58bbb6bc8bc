// Memory of a device, or pinned memory of the host that every device reaches; and what tells when the device has done
// with it. Rank thread, or the engine's where workers share it.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/bfloat16.h"

namespace lockstep::cuda {

constexpr size_t bf16_bytes(int64_t elements) { return static_cast<size_t>(elements) * sizeof(BFloat16); }

// Of the thread's current device, or pinned; not zeroed.
class Memory {
 public:
  Memory() = default;
  // Throws Error("OUT_OF_MEMORY") that says how much is needed and how much is free.
  Memory(size_t bytes, bool pinned_host);
  ~Memory();
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(pinned_host_, other.pinned_host_);
    return *this;
  }
  std::byte* data() const { return data_; }
  size_t size_bytes() const { return bytes_; }
  size_t device_bytes() const { return pinned_host_ ? 0 : bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool pinned_host_ = false;
};

// Memory that grows until it is released. CudaOps::reserve() asks for the largest step's, so that no step allocates
// but one with longer lists (of biases, say) than were foreseen.
class Growing {
 public:
  explicit Growing(bool pinned_host) : pinned_host_(pinned_host) {}
  std::byte* at_least(size_t bytes);  // its contents are lost where it grows
  void release() { memory_ = {}; }
  std::byte* data() const { return memory_.data(); }
  size_t size_bytes() const { return memory_.size_bytes(); }

 private:
  const bool pinned_host_;
  Memory memory_;
};

// Pinned host memory that is handed out piece by piece, until all pieces are given back.
class Pieces {
 public:
  void reserve(size_t bytes) { memory_.at_least(bytes); }
  bool has_room(size_t bytes) const { return used_ + rounded(bytes) <= memory_.size_bytes(); }
  // Precondition: there is room, or no piece is out.
  std::byte* take(size_t bytes) {
    std::byte* const piece = memory_.at_least(used_ + rounded(bytes)) + used_;
    used_ += rounded(bytes);
    return piece;
  }
  void give_back() { used_ = 0; }

 private:
  static size_t rounded(size_t bytes) { return (bytes + 15) / 16 * 16; }

  Growing memory_{true};
  size_t used_ = 0;
};

// A place in a stream.
class Event {
 public:
  Event() = default;
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream);  // behind all that is on it
  void wait() const;                 // until the device has got there; not at all where nothing was recorded

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace lockstep::cuda
