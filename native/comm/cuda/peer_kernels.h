// The launchers of the collectives over peer memory. Plain C++.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "ops/tensor.h"

namespace lockstep::cuda {

constexpr int kPeerBlocks = 64;  // most blocks of a launch: all must be resident on both devices at once

// What both sides of an exchange know. Words and buffers lie in memory that both devices reach.
struct Exchange {
  bool first;                 // this is worker 0: its values come first
  uint32_t round;             // of this exchange: one more each time, on both sides alike
  std::byte *mine, *theirs;   // this round's buffers: each side writes its own
  uint32_t *arrived, *told;   // [2, kPeerBlocks]: what the peer tells us, what we tell it
  const uint32_t* abandoned;  // not 0: nobody will answer any more
};

// sum = worker 0's + worker 1's, on both. Bytes of a buffer: see all_reduce_bytes().
void all_reduce(Matrix<float> sum, const Exchange& exchange, cudaStream_t stream);
size_t all_reduce_bytes(int64_t elements);

// On worker 0, whole = its part, then worker 1's. A buffer holds a part of float32.
void gather_columns(Matrix<float> whole, Matrix<const float> part, const Exchange& exchange,
                    cudaStream_t stream);

}  // namespace lockstep::cuda
