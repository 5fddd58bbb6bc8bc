// Collectives between two CUDA devices of this process: over peer memory where the devices reach each other's,
// else over pinned host memory that both reach, with the same kernels. Made at load on the engine thread.
#pragma once
#include <memory>
#include <span>

#include "comm/comm.h"

namespace lockstep::cuda {

// devices: of the two workers. Throws Error where memory or a device cannot be had.
std::unique_ptr<CommGroup> make_peer_group(std::span<const int> devices, const CommLimits& limits);

}  // namespace lockstep::cuda
