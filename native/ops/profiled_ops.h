// A backend that times the verbs of another whose verbs are complete when they return.
#pragma once
#include <memory>

#include "ops/ops.h"

namespace lockstep {

std::unique_ptr<Ops> make_profiled_ops(std::unique_ptr<Ops> inner);

}  // namespace lockstep
