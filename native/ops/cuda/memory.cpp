#include "ops/cuda/memory.h"

#include "ops/cuda/launch.h"

namespace lockstep::cuda {

Growing::~Growing() {
  if (pinned_host_)
    cudaFreeHost(data_);
  else
    cudaFree(data_);
}

std::byte* Growing::at_least(size_t bytes) {
  if (bytes <= bytes_) return data_;
  if (pinned_host_)
    cudaFreeHost(data_);
  else
    cudaFree(data_);
  data_ = nullptr;
  bytes_ = 0;
  void* memory = nullptr;
  if (pinned_host_)
    check(cudaMallocHost(&memory, bytes), "pinned host memory for a step");
  else
    check_memory(cudaMalloc(&memory, bytes), bytes, "workspaces");
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
  return data_;
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void Event::record(cudaStream_t stream) {
  if (event_ == nullptr) check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
  check(cudaEventRecord(event_, stream), "recording an event");
}

void Event::wait() const {
  if (event_ != nullptr) check(cudaEventSynchronize(event_), "waiting for the device");
}

}  // namespace lockstep::cuda
