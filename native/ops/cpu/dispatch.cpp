// Which compute paths this build and this CPU have, and the choice among them.
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/cpu_ops.h"

namespace lockstep {

extern const KernelTable kPortableKernels;
#ifdef LOCKSTEP_HAVE_X86
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
#endif
#ifdef LOCKSTEP_HAVE_AVX512_BF16
extern const KernelTable kAvx512Bf16Kernels;
#endif

namespace {

struct Path {
  const KernelTable* kernels;
  bool (*runs_here)();
};

#ifdef LOCKSTEP_HAVE_X86
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

// Best first.
constexpr Path kPaths[] = {
#ifdef LOCKSTEP_HAVE_AVX512_BF16
    {&kAvx512Bf16Kernels, [] { return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0; }},
#endif
#ifdef LOCKSTEP_HAVE_X86
    {&kAvx512Kernels, has_avx512},
    {&kAvx2Kernels, has_avx2},
#endif
    {&kPortableKernels, [] { return true; }},
};

}  // namespace

std::vector<std::string> available_cpu_paths() {
  std::vector<std::string> names;
  for (const Path& path : kPaths) {
    if (path.runs_here()) names.emplace_back(path.kernels->name);
  }
  return names;
}

const KernelTable& find_kernels(const std::string& path) {
  std::string available;
  for (const Path& candidate : kPaths) {
    if (!candidate.runs_here()) continue;
    if (path.empty() || path == candidate.kernels->name) return *candidate.kernels;
    available += (available.empty() ? "'" : ", '") + std::string(candidate.kernels->name) + "'";
  }
  throw Error("NOT_SUPPORTED", "This CPU has no compute path '" + path + "'; it has " + available);
}

std::unique_ptr<Ops> make_cpu_ops(const std::string& path, int threads) {
  if (threads < 1) throw Error("ENGINE_FAILED", "make_cpu_ops: threads must be 1 or more");
  return std::make_unique<CpuOps>(find_kernels(path), threads);
}

}  // namespace lockstep
