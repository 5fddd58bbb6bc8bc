// Launching a kernel and turning CUDA's error codes into Error. Host code of the launchers; rank thread only.
#pragma once
#include <cuda_runtime.h>

#include <string>

#include "base/error.h"

namespace lockstep::cuda {

constexpr size_t kSharedWithoutAsking = 48 * 1024;  // bytes; beyond, a kernel must opt in

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw Error(error == cudaErrorMemoryAllocation ? "OUT_OF_MEMORY" : "ENGINE_FAILED",
              std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

// Where a launch runs, and what it moves: the profiler divides by it (bytes of device memory, FLOPs).
struct Launch {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  double bytes, flops;
};

template <class... Parameters, class... Arguments>
void launch(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  if (l.grid.x == 0 || l.grid.y == 0 || l.grid.z == 0) return;
  if (l.shared_bytes > kSharedWithoutAsking)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(l.shared_bytes)),
          l.name);
  cudaLaunchConfig_t config = {};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.shared_bytes;
  config.stream = l.stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), l.name);
}

inline unsigned ceil_div(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace lockstep::cuda
