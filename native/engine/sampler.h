// From the results of a step to new tokens: hands each to its request, and decides which requests end. Engine
// thread only.
#pragma once
#include <vector>

#include "engine/batch_builder.h"
#include "engine/request.h"

namespace lockstep {

// Remembers of each request where NaN or infinity first showed. rows [T] as Model::non_finite(); nothing where it is
// empty.
void note_non_finite(std::span<const Scheduled> scheduled, const Step& step, std::span<const NonFinite> rows);

// One event for each request that took a token, finished or failed in this step, out of batch.results.
// Requests are changed (tokens, scored, pooled) but not removed from the scheduler: that is the caller's. `debug`: see
// EngineSpec.
std::vector<RequestEvent> take_results(Batch& batch, bool debug);

}  // namespace lockstep
