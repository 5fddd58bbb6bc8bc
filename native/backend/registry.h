// Which backends there are, and the choice among them. The CUDA backend is a shared library of its own beside
// the addon, opened at run time, so that one package runs on hosts with and without a GPU. Any thread.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/comm.h"
#include "ops/floors.h"
#include "ops/ops.h"

namespace lockstep {

struct CudaDevice {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  size_t total_bytes = 0;
  std::vector<bool> peers;  // [devices]: whether it can read that device's memory
};

// What `lockstep doctor` says about CUDA.
struct CudaStatus {
  bool usable = false;
  std::string reason;  // where it is not: exactly why, and what to do
  std::vector<CudaDevice> devices;
};

// Opens the library at the first call and keeps it.
CudaStatus cuda_status();

// `path` as make_cpu_ops takes it, or "cuda:0", "cuda:1", ...: a device. Throws Error("NOT_SUPPORTED") with
// the reason. `profile`: Ops::profile() tells.
std::unique_ptr<Ops> make_ops(const std::string& path, int threads, bool profile);

// The ceilings of a device, or of the CPU with so many threads. Takes about a second. `path` as for make_ops;
// buffer_bytes: that are read; 0, on CUDA only: enough. Throws Error("NOT_SUPPORTED") and Error("OUT_OF_MEMORY").
Floors measure_floors(const std::string& path, int threads, size_t buffer_bytes);

// The collectives of workers on these CUDA devices, one each; over host memory where there are none.
std::unique_ptr<CommGroup> make_group(std::span<const int> devices, const CommLimits& limits);

// ---- what the library exports, by the name lockstep_cuda_backend ----

// Library and addon are built together and hold C++ types in common: this changes whenever one of those does.
constexpr int kCudaBackendVersion = 2;

struct CudaBackend {
  int version;  // kCudaBackendVersion; read before anything else
  CudaStatus (*status)();
  std::unique_ptr<Ops> (*make_ops)(int device, const std::string& path, bool profile);
  std::unique_ptr<CommGroup> (*make_group)(std::span<const int> devices, const CommLimits& limits);
  Floors (*measure_floors)(int device, size_t buffer_bytes);
};

}  // namespace lockstep
