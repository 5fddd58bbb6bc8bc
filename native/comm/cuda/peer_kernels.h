// The launchers of the collectives over peer memory. Plain C++.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "ops/cuda/stream.h"
#include "ops/tensor.h"

namespace lockstep::cuda {

constexpr int kPeerBlocks = 64;  // most blocks of a launch: all must be resident on both devices at once

// What a side knows of the other. Words and buffers lie in memory that both devices reach; the same in every
// call, so that steps can be replayed: the rounds are counted on the device.
struct Exchange {
  int64_t first;              // 1: this is worker 0, its values come first
  int64_t buffer_bytes;       // of one of the two buffers
  std::byte *mine, *theirs;   // [2] buffers in turn: each side writes its own
  uint32_t *arrived, *told;   // [2, kPeerBlocks]: what the peer tells us, what we tell it
  const uint32_t* abandoned;  // not 0: nobody will answer any more
  uint32_t* rounds;           // [2] on this device: finished rounds; blocks that have left the present one
};

// sum = worker 0's + worker 1's, on both. Bytes of a buffer: see all_reduce_bytes().
void all_reduce(Matrix<float> sum, const Exchange& exchange, Stream& stream);
size_t all_reduce_bytes(int64_t elements);

// On worker 0, whole = its part, then worker 1's. A buffer holds a part of float32.
void gather_columns(Matrix<float> whole, Matrix<const float> part, const Exchange& exchange, Stream& stream);

}  // namespace lockstep::cuda
