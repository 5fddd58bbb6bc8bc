// A GPU's ceilings: how fast its memory can be read and copied, and how many BF16 multiply-adds its tensor cores do.
#pragma once
#include "ops/floors.h"

namespace lockstep::cuda {

// Takes well under a second; any thread. buffer_bytes: of the buffer that is read, and again of its copy; 0: more
// than four times the L2 cache. Throws Error("OUT_OF_MEMORY") and Error("ENGINE_FAILED").
Floors measure_cuda_floors(int device, size_t buffer_bytes);

}  // namespace lockstep::cuda
