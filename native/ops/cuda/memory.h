// Memory of a step, and what tells when the device has done with it. Rank thread only.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>

namespace lockstep::cuda {

// Device or pinned host memory that grows and never shrinks. CudaOps::reserve() asks for the largest step's, so
// that no step allocates but one with longer lists (of biases, say) than were foreseen.
class Growing {
 public:
  explicit Growing(bool pinned_host) : pinned_host_(pinned_host) {}
  ~Growing();
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;
  std::byte* at_least(size_t bytes);  // its contents are lost where it grows
  std::byte* data() const { return data_; }
  size_t size_bytes() const { return bytes_; }

 private:
  const bool pinned_host_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
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
  void wait() const;                 // until the device has got there; nothing recorded: not at all

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace lockstep::cuda
