// The CPU's ceilings, measured with the engine's own threads: how fast memory can be read, and how many BF16
// multiply-adds a compute path can do.
#pragma once
#include <string>

#include "ops/floors.h"

namespace lockstep {

// Takes about a second. `path` as for make_cpu_ops; threads >= 1 counts the calling thread. The buffer that
// is read should be larger than the last-level cache. Throws Error("NOT_SUPPORTED") and
// Error("OUT_OF_MEMORY").
Floors measure_cpu_floors(const std::string& path, int threads, size_t buffer_bytes);

}  // namespace lockstep
