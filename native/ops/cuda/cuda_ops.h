// The CUDA backend's front door.
#pragma once
#include <memory>
#include <string>

#include "ops/ops.h"

namespace lockstep::cuda {

// An Ops on device `device`; `path` is what its compute_path() says. `profile`: Ops::profile() tells.
std::unique_ptr<Ops> make_cuda_ops(int device, const std::string& path, bool profile);

}  // namespace lockstep::cuda
