// Backends that break one mechanism of the lockstep contract each, as a fault in cache, recompute or
// tensor parallelism would: what the tests under pressure must notice.
#pragma once
#include <memory>
#include <string>

#include "ops/ops.h"

namespace lockstep::testing {

// A view of `inner` under the name `path`, with the fault planted; null where there is no such fault:
//   wrong-block    a sequence whose prefix came from the prefix cache reads a wrong block in its first step
//   dropped-token  a prefill chunk that reaches beyond position 40 (with shorter prompts: a recompute) does
//                  not write K and V of its last token but one
//   rank-order     a linear that holds one of two parts of K (a rank of two) sums it in another order
std::unique_ptr<Ops> make_fault_ops(const std::string& fault, const std::string& path,
                                    std::unique_ptr<Ops>& inner);

}  // namespace lockstep::testing
