#include "ops/cuda/memory.h"

#include <cuda_runtime.h>

#include <string>

#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

std::string shortage(size_t bytes, Place place) {
  const std::string needed = "Cannot reserve " + std::to_string(bytes) + " bytes of ";
  size_t free = 0, total = 0;
  if (place == Place::kPinnedHost) return needed + "the host's memory, pinned";
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return needed + "the device's memory";
  return needed + "the device's memory, of whose " + std::to_string(total) + " bytes " +
         std::to_string(free) + " are free";
}

}  // namespace

Memory::Memory(size_t bytes, Place place) : place_(place) {
  if (bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t error = place == Place::kDevice
                                ? cudaMalloc(&memory, bytes)
                                : cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // this one is no reason to give up
    throw Error("OUT_OF_MEMORY", shortage(bytes, place));
  }
  check(error, "reserving memory");
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  if (place_ == Place::kDevice)
    cudaFree(data_);
  else
    cudaFreeHost(data_);
}

std::byte* Growing::at_least(size_t bytes) {
  if (bytes <= size_bytes()) return data();
  memory_ = {};  // before more is asked for; a default temporary takes the old memory with it
  memory_ = Memory(bytes, place_);
  return data();
}

}  // namespace lockstep::cuda
