#include "ops/cuda/memory.h"

#include <string>

#include "ops/cuda/launch.h"

namespace lockstep::cuda {

Memory::Memory(size_t bytes, bool pinned_host) : pinned_host_(pinned_host) {
  if (bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t error = pinned_host
                                ? cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped)
                                : cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // this one is no reason to give up
    const std::string needed = "Cannot reserve " + std::to_string(bytes) + " bytes";
    if (pinned_host) throw Error("OUT_OF_MEMORY", needed + " of pinned host memory");
    size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw Error("OUT_OF_MEMORY", needed + ": " + std::to_string(free) + " of the device's " +
                                     std::to_string(total) + " bytes are free");
  }
  check(error, "reserving memory");
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  if (pinned_host_)
    cudaFreeHost(data_);
  else
    cudaFree(data_);
}

std::byte* Growing::at_least(size_t bytes) {
  if (bytes <= size_bytes()) return data();
  memory_ = {};  // before more is asked for
  memory_ = Memory(bytes, pinned_host_);
  return data();
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void Event::record(cudaStream_t stream) {
  if (event_ == nullptr) check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
  check(cudaEventRecord(event_, stream), "recording an event");
}

void Event::wait() const {
  if (event_ != nullptr) check(cudaEventSynchronize(event_), "waiting for a step");
}

}  // namespace lockstep::cuda
