// A backend on the CPU that answers late, as a GPU does: so that the engine's steps ahead run without one.
#pragma once
#include <memory>
#include <string>

#include "ops/ops.h"

namespace lockstep::testing {

// A view of `inner` under the name `path`, null where `name` is none of these:
//   late       runs ahead: results come with collect(), unsampled() tokens are those of the step before
//   late-row   the same with a fault: they are those of the row before
std::unique_ptr<Ops> make_late_ops(const std::string& name, const std::string& path,
                                   std::unique_ptr<Ops>& inner);

}  // namespace lockstep::testing
