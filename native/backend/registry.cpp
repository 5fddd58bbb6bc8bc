#include "backend/registry.h"

#include <dlfcn.h>

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "comm/host_comm.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/cpu/floors.h"
#include "ops/profiled_ops.h"

namespace lockstep {
namespace {

constexpr const char* kLibrary = "lockstep-cuda.so";
constexpr std::string_view kPrefix = "cuda:";

struct Opened {
  const CudaBackend* backend = nullptr;
  std::string reason;  // where there is none
};

// The library lies where this code's own file lies, unless LOCKSTEP_CUDA_LIBRARY names another (the tests' own).
std::string library_path() {
  if (const char* const named = std::getenv("LOCKSTEP_CUDA_LIBRARY"); named != nullptr && *named != 0)
    return named;
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&cuda_status), &info) == 0 || info.dli_fname == nullptr)
    return kLibrary;
  const std::string self = info.dli_fname;
  const size_t slash = self.rfind('/');
  return slash == std::string::npos ? kLibrary : self.substr(0, slash + 1) + kLibrary;
}

Opened open_library() {
  const std::string path = library_path();
  // Never closed: its kernels and its driver threads may outlive every engine.
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr)
    return {nullptr, "This build has no CUDA backend (no CUDA toolkit was found when it was built): " +
                         std::string(dlerror())};
  const auto get = reinterpret_cast<const CudaBackend* (*)()>(dlsym(library, "lockstep_cuda_backend"));
  if (get == nullptr) return {nullptr, path + " is not Lockstep's CUDA backend: " + dlerror()};
  const CudaBackend* const backend = get();
  if (backend->version != kCudaBackendVersion)
    return {nullptr, path + " belongs to another build of Lockstep: build both together"};
  return {backend, ""};
}

// Trivially destructible in effect: never destroyed, since engine threads may outlive static destructors.
const Opened& opened() {
  static const Opened& result = *new Opened(open_library());
  return result;
}

struct Chosen {
  int index;
  std::string compute_path;
};

// The device that `path` names: "cuda:0", ...
Chosen choose(const std::string& path) {
  int device = -1;
  const char *const first = path.data() + kPrefix.size(), *const last = path.data() + path.size();
  if (std::from_chars(first, last, device).ptr != last || device < 0)
    throw Error("NOT_SUPPORTED", "Expected cuda:0, cuda:1, ... but received '" + path + "'");
  const CudaStatus status = cuda_status();
  if (!status.usable) throw Error("NOT_SUPPORTED", "CUDA cannot be used: " + status.reason);
  if (device >= static_cast<int>(status.devices.size()))
    throw Error("NOT_SUPPORTED", "There is no device '" + path + "': this process sees " +
                                     std::to_string(status.devices.size()) +
                                     " (CUDA_VISIBLE_DEVICES chooses them)");
  const CudaDevice& chosen = status.devices[static_cast<size_t>(device)];
  return {device, "cuda-sm" + std::to_string(chosen.major) + std::to_string(chosen.minor)};
}

}  // namespace

CudaStatus cuda_status() {
  if (opened().backend == nullptr) return {.usable = false, .reason = opened().reason, .devices = {}};
  return opened().backend->status();
}

std::unique_ptr<Ops> make_ops(const std::string& path, int threads, bool profile) {
  if (path.starts_with(kPrefix)) {
    const Chosen chosen = choose(path);
    return opened().backend->make_ops(chosen.index, chosen.compute_path, profile);
  }
  auto ops = make_cpu_ops(path, threads);
  return profile ? make_profiled_ops(std::move(ops)) : std::move(ops);
}

Floors measure_floors(const std::string& path, int threads, size_t buffer_bytes) {
  if (path.starts_with(kPrefix)) return opened().backend->measure_floors(choose(path).index, buffer_bytes);
  return measure_cpu_floors(path, threads, buffer_bytes);
}

std::unique_ptr<CommGroup> make_group(std::span<const int> devices, const CommLimits& limits) {
  if (devices.empty()) return std::make_unique<HostGroup>();
  return opened().backend->make_group(devices, limits);
}

}  // namespace lockstep
