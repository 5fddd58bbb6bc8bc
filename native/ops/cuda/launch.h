// Launching a kernel and turning CUDA's error codes into Error. Host code of the launchers; rank thread only.
#pragma once
#include <cuda_runtime.h>

#include <mutex>
#include <string>

#include "base/error.h"

namespace lockstep::cuda {

constexpr size_t kSharedWithoutAsking = 48 * 1024;  // bytes; beyond, a kernel must opt in

// Why no CUDA call of this process can succeed any more; empty while they can. An error that spoils the
// context (an illegal address, a dead device) is answered by every later call, in every thread: only another
// process starts afresh.
class Spoiled {
 public:
  static std::string reason() {
    const std::lock_guard lock(get().mutex_);
    return get().reason_;
  }
  // Asks CUDA whether the error stays.
  static void look(const std::string& error) {
    if (cudaFree(nullptr) == cudaSuccess) return;
    const std::lock_guard lock(get().mutex_);
    if (get().reason_.empty()) get().reason_ = error;
  }

 private:
  static Spoiled& get() {
    static Spoiled& only = *new Spoiled;  // never destroyed: engine threads may outlive static destructors
    return only;
  }
  std::mutex mutex_;
  std::string reason_;
};

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  const std::string text = std::string("CUDA: ") + what + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) throw Error("OUT_OF_MEMORY", text);
  Spoiled::look(text);
  throw Error("ENGINE_FAILED", text);
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
