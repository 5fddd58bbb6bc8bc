// Launching a kernel and turning CUDA's error codes into Error. Host code of the launchers; rank thread only.
#pragma once
#include <cuda_runtime.h>

#include <mutex>
#include <string>

#include "base/error.h"
#include "ops/cuda/stream.h"

namespace lockstep::cuda {

// Why no CUDA call of this process can succeed any more; empty while they can. An error that spoils the
// context (an illegal address, a dead device) is answered by every later call, in every thread: only another
// process starts afresh.
class Spoiled {
 public:
  static std::string reason() {
    const std::lock_guard lock(get().mutex_);
    return get().reason_;
  }
  // Asks CUDA whether the error stays. What to say: the error, or the first of those that stay.
  static std::string cause(const std::string& error) {
    if (cudaFree(nullptr) == cudaSuccess) return error;
    const std::lock_guard lock(get().mutex_);
    if (get().reason_.empty()) get().reason_ = error;
    return get().reason_;
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
  throw Error("ENGINE_FAILED", Spoiled::cause(text));
}

template <class... Parameters, class... Arguments>
void launch(const Launch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  l.stream.add(l, kernel, arguments...);
}

inline unsigned ceil_div(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace lockstep::cuda
