// Stands in for CUDA's cuda_runtime.h where kernels are compiled for the CPU: the keywords, the built-in variables and
// functions, and the few calls of the runtime that native/ops/cuda makes. "Device memory" is host memory with canaries;
// a call is complete when it returns or, with "late", when somebody waits for it.
#pragma once
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

inline thread_local cuda_on_cpu::Extent &threadIdx = cuda_on_cpu::current_thread,
                                        &blockIdx = cuda_on_cpu::current_block,
                                        &blockDim = cuda_on_cpu::current_block_dim,
                                        &gridDim = cuda_on_cpu::current_grid_dim;

struct dim3 : cuda_on_cpu::Extent {
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : Extent{x_, y_, z_} {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline void __syncthreads() { cuda_on_cpu::block_barrier(); }
inline void __syncwarp() {
  const char nothing = 0;
  cuda_on_cpu::warp_exchange("__syncwarp", &nothing, 1);
}
template <class T>
T shuffle_from(const char* name, T value, int lane) {
  T result;
  std::memcpy(&result, cuda_on_cpu::warp_exchange(name, &value, sizeof(T)) + lane * sizeof(T), sizeof(T));
  return result;
}
template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return shuffle_from("__shfl_sync", value, lane % 32);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return shuffle_from("__shfl_xor_sync", value, cuda_on_cpu::lane_id() ^ mask);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  const std::byte* const all = cuda_on_cpu::warp_exchange("__ballot_sync", &predicate, sizeof(predicate));
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) {
    int value;
    std::memcpy(&value, all + lane * sizeof(int), sizeof(int));
    bits |= (value != 0 ? 1u : 0u) << lane;
  }
  return bits;
}
// Threads are switched at barriers only, so an unlocked read-modify-write is atomic here.
template <class T>
T atomicAdd(T* address, T value) {
  static_assert(!std::is_floating_point_v<T>, "no atomics on floats: their order is not fixed");
  const T old = *address;
  *address = old + value;
  return old;
}
template <class T>
T atomicOr(T* address, T value) {
  const T old = *address;
  *address = old | value;
  return old;
}

// ---- the runtime ----

using cudaError_t = int;
using cudaStream_t = class CudaStream*;
constexpr cudaError_t cudaErrorPeerAccessAlreadyEnabled = 704, cudaErrorIllegalAddress = 700, cudaErrorNotSupported = 801,
                      cudaErrorECCUncorrectable = 214, cudaErrorLaunchOutOfResources = 701;
constexpr cudaError_t cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInsufficientDriver = 35, cudaErrorNoDevice = 100;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3, cudaMemcpyDefault = 4 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int programmaticStreamSerializationAllowed;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

inline const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorIllegalAddress) return "an illegal memory access was encountered";
  if (error == cudaErrorECCUncorrectable) return "uncorrectable ECC error encountered";
  if (error == cudaErrorLaunchOutOfResources) return "too many resources requested for launch";
  return error == cudaSuccess ? "no error" : "out of memory";
}
// What every call answers once a launch was made to fail.
inline cudaError_t state() { return cuda_on_cpu::spoiled(); }
inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (bytes > size_t{1} << 40) return cudaErrorMemoryAllocation;
  *memory = cuda_on_cpu::allocate(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : state();
}

// What has been asked of a stream and is not done: with "late" it is done when somebody waits for it, else at once. An
// error that comes late is lost, unless it spoils the context.
class CudaStream {
 public:
  cudaError_t ask(std::function<cudaError_t()> call) {
    const std::lock_guard lock(mutex_);
    ++asked_;
    if (!cuda_on_cpu::schedule().late) return call();
    calls_.push_back(std::move(call));
    return cudaSuccess;
  }
  uint64_t asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  void run_until(uint64_t asked) {
    const std::lock_guard lock(mutex_);
    while (!calls_.empty() && asked_ - calls_.size() < asked) {
      const auto call = std::move(calls_.front());
      calls_.pop_front();
      call();
    }
  }

  const int device = cuda_on_cpu::current_device;

 private:
  std::mutex mutex_;
  std::deque<std::function<cudaError_t()>> calls_;
  uint64_t asked_ = 0;
};
inline std::mutex streams_mutex;
inline std::set<cudaStream_t> streams;

template <class Call>
cudaError_t ask(cudaStream_t stream, Call call) {
  const cudaError_t error = stream == nullptr ? call() : stream->ask(call);
  return error != cudaSuccess ? error : state();
}
// Waits, as CUDA's does, for the device.
inline cudaError_t cudaFree(void* memory) {
  {
    const std::lock_guard lock(streams_mutex);
    for (const cudaStream_t stream : streams)
      if (memory != nullptr && stream->device == cuda_on_cpu::device_of(memory)) stream->run_until(stream->asked());
  }
  cuda_on_cpu::release(memory);
  return state();
}
constexpr unsigned cudaHostAllocPortable = 1, cudaHostAllocMapped = 2;
inline cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  *memory = cuda_on_cpu::allocate_pinned(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : state();
}
inline cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
inline cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return state();
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return ask(stream, [=] { return std::memset(memory, value, bytes), cudaSuccess; });
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return ask(stream, [=] { return std::memcpy(to, from, bytes), cudaSuccess; });
}
inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                     size_t height, cudaMemcpyKind, cudaStream_t stream) {
  return ask(stream, [=] {
    for (size_t row = 0; row < height; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    return cudaSuccess;
  });
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  const std::lock_guard lock(streams_mutex);
  streams.insert(*stream = new CudaStream);
  return state();
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  stream->run_until(stream->asked());
  return state();
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  stream->run_until(stream->asked());
  const std::lock_guard lock(streams_mutex);
  streams.erase(stream);
  delete stream;
  return state();
}
inline cudaError_t cudaSetDevice(int device) {
  cuda_on_cpu::current_device = device;
  return state();
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = cuda_on_cpu::kDevices;
  return state();
}
struct cudaDeviceProp {
  char name[256];
  int major, minor;
  size_t totalGlobalMem;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"CUDA on the CPU", 9, 99, cuda_on_cpu::kDeviceBytes};
  return state();
}
// LOCKSTEP_CUDA_ON_CPU with "no-peers": the devices do not reach each other.
inline cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = cuda_on_cpu::schedule().peers;
  return state();
}
inline cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return state(); }
inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return state();
}
inline cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  // Few multiprocessors, so that small tests take the launchers' branches for full devices, too.
  *value = attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 163 * 1024 : 4;
  return state();
}
inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = cuda_on_cpu::free_bytes();
  *total = cuda_on_cpu::kDeviceBytes;
  return state();
}
inline cudaError_t cudaGetLastError() { return state(); }
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return state(); }

// ---- events ----

struct CudaEvent {
  std::shared_ptr<double> ms = std::make_shared<double>(0);  // when the stream got there
  cudaStream_t stream = nullptr;
  uint64_t asked = 0;  // of the stream, with the event
};
using cudaEvent_t = CudaEvent*;
constexpr unsigned cudaEventDefault = 0, cudaEventDisableTiming = 2;
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CudaEvent;
  return state();
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return state();
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const auto tell = [ms = event->ms] {
    *ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return cudaSuccess;
  };
  const cudaError_t error = ask(stream, tell);
  event->stream = stream;
  event->asked = stream == nullptr ? 0 : stream->asked();
  return error;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream != nullptr) event->stream->run_until(event->asked);
  return state();
}
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  *ms = static_cast<float>(*end->ms - *begin->ms);
  return state();
}

// ---- graphs: launches of this OS thread that are kept instead of run ----

using Launches = std::vector<std::function<cudaError_t()>>;
using cudaGraph_t = Launches*;
using cudaGraphExec_t = Launches*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
inline thread_local Launches* capturing = nullptr;

inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (!cuda_on_cpu::schedule().graphs) return cudaErrorNotSupported;
  capturing = new Launches;
  return state();
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  *graph = std::exchange(capturing, nullptr);
  return state();
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new Launches(*graph);
  return state();
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return state();
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  cuda_on_cpu::count_graph();
  return ask(stream, [launches = *executable]() -> cudaError_t {
    for (const auto& launch : launches)
      if (const cudaError_t error = launch()) return error;
    return cudaSuccess;
  });
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const auto run = [=, config = *config]() -> cudaError_t {
    if (const cudaError_t error = cuda_on_cpu::count_launch()) return error;
    cuda_on_cpu::run_grid(config.gridDim, config.blockDim, config.dynamicSmemBytes,
                          [&] { kernel(static_cast<Parameters>(arguments)...); });
    return cudaSuccess;
  };
  if (capturing == nullptr) return ask(config->stream, run);
  capturing->push_back(run);
  return state();
}
