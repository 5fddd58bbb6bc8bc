// A backend that breaks the lockstep contract on purpose: the contract suite must notice, or it is no gate.
#pragma once
#include <memory>
#include <string>

#include "ops/ops.h"

namespace lockstep::testing {

// `path` as for make_ops; with "canary:NAME" or "canary:NAME/PATH" the violation NAME is planted:
//   k-split   linear sums K in another order when a step has more than one row
std::unique_ptr<Ops> make_canary_ops(const std::string& path, int threads, bool profile);

}  // namespace lockstep::testing
