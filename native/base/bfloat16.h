// The storage type of weights, activations and KV entries. Arithmetic on it happens in ops kernels, and in
// float64 in engine/pooling.cpp.
#pragma once
#include <cstdint>

namespace lockstep {

// Alignment 1 on purpose: a safetensors tensor may start at an odd byte, and weights are used where they lie.
struct [[gnu::packed]] BFloat16 {
  uint16_t bits;
};
static_assert(sizeof(BFloat16) == 2 && alignof(BFloat16) == 1);

}  // namespace lockstep
