// From the results of a step to new tokens: hands each to its request, and decides which requests end. Engine
// thread only.
#pragma once
#include <vector>

#include "engine/batch_builder.h"
#include "engine/request.h"

namespace lockstep {

// One event for each request that took a token, finished or failed in this step, out of batch.results.
// Requests are changed (tokens, scored) but not removed from the scheduler: that is the caller's.
std::vector<RequestEvent> take_results(Batch& batch);

}  // namespace lockstep
