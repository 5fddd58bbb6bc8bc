// The one symbol that the CUDA shared library exports, and what it says about devices. Any thread.
#include <cuda_runtime.h>

#include "backend/registry.h"
#include "comm/cuda/peer_comm.h"
#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/floors.h"
#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

constexpr int kOldestMajor = 8;  // compute capability 8.0: BF16 mma and cp.async

CudaStatus status() {
  CudaStatus result;
  if (const std::string spoiled = Spoiled::reason(); !spoiled.empty()) {
    result.reason =
        "an earlier error cannot be cured in this process, only a new one starts afresh (" + spoiled + ")";
    return result;
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const auto version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
    result.reason = driver == 0 ? "no NVIDIA driver is installed (libcuda.so.1 was not found)"
                                : "the NVIDIA driver supports CUDA " + version(driver) +
                                      " and this build needs " + version(runtime) + ": update the driver";
    return result;
  }
  if (error != cudaSuccess || count == 0) {
    result.reason = error == cudaErrorNoDevice || error == cudaSuccess
                        ? "the driver sees no device (or CUDA_VISIBLE_DEVICES hides all)"
                        : std::string("asking for devices failed: ") + cudaGetErrorString(error);
    return result;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
      result.reason =
          "device " + std::to_string(i) + " does not answer: " + cudaGetErrorString(cudaGetLastError());
      return result;
    }
    if (properties.major < kOldestMajor) {
      result.reason = std::string(properties.name) + " has compute capability " +
                      std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                      ", and 8.0 is the oldest supported";
      return result;
    }
    CudaDevice device{properties.name, properties.major, properties.minor, properties.totalGlobalMem, {}};
    for (int peer = 0; peer < count; ++peer) {
      int can = 0;
      if (peer != i) cudaDeviceCanAccessPeer(&can, i, peer);
      device.peers.push_back(peer == i || can != 0);
    }
    result.devices.push_back(std::move(device));
  }
  result.usable = true;
  return result;
}

constexpr CudaBackend kBackend = {kCudaBackendVersion, status, make_cuda_ops, make_peer_group,
                                  measure_cuda_floors};

}  // namespace
}  // namespace lockstep::cuda

extern "C" __attribute__((visibility("default"))) const lockstep::CudaBackend* lockstep_cuda_backend() {
  return &lockstep::cuda::kBackend;
}
