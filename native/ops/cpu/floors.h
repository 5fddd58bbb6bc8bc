// The machine's two ceilings, measured on the spot with the engine's own threads: how fast memory can be
// read, and how many BF16 multiply-adds a compute path can do. `lockstep bench` puts them beside its figures.
#pragma once
#include <cstddef>
#include <string>

namespace lockstep {

struct Floors {
  double read_bytes_per_second = 0;
  double flops_per_second = 0;  // a multiply-add counts as 2
};

// Takes about a second. `path` as for make_cpu_ops; threads >= 1 counts the calling thread. The buffer that
// is read should be larger than the last-level cache. Throws Error("NOT_SUPPORTED") and
// Error("OUT_OF_MEMORY").
Floors measure_floors(const std::string& path, int threads, size_t buffer_bytes);

}  // namespace lockstep
