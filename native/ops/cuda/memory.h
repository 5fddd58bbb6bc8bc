// Memory of a device, or pinned memory of the host that every device reaches, and the one error that says there is
// not enough of it. Allocated at load; rank thread, or the engine's where workers share it.
#pragma once
#include <cstddef>
#include <utility>

namespace lockstep::cuda {

enum class Place { kDevice, kPinnedHost };  // the device: the thread's current one

class Memory {
 public:
  Memory() = default;
  // Not zeroed. Throws Error("OUT_OF_MEMORY") that says how much is needed and how much is free.
  Memory(size_t bytes, Place place);
  ~Memory();
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  std::byte* data() const { return data_; }
  size_t size_bytes() const { return bytes_; }
  size_t device_bytes() const { return place_ == Place::kDevice ? bytes_ : 0; }

 private:
  void swap(Memory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(place_, other.place_);
  }

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  Place place_ = Place::kDevice;
};

// Memory that grows and never shrinks. CudaOps::reserve() asks for the largest step's, so that no step allocates
// but one with longer lists (of biases, say) than were foreseen.
class Growing {
 public:
  explicit Growing(Place place) : place_(place) {}
  std::byte* at_least(size_t bytes);  // its contents are lost where it grows
  std::byte* data() const { return memory_.data(); }
  size_t size_bytes() const { return memory_.size_bytes(); }

 private:
  const Place place_;
  Memory memory_;
};

}  // namespace lockstep::cuda
