// From the step's hidden rows to new tokens: runs head and sampling verb in groups of rows; once the results
// are there, hands each to its request and decides which requests end. Engine thread only.
#pragma once
#include <vector>

#include "engine/batch_builder.h"
#include "engine/rank.h"

namespace lockstep {

// Asks for batch.results of the step that forward() computed last.
void launch_sampling(Batch& batch, RankGroup& ranks);

// One event for each request that took a token, finished or failed in this step, out of batch.results.
// Requests are changed (tokens, scored) but not removed from the scheduler: that is the caller's.
std::vector<RequestEvent> take_results(Batch& batch);

}  // namespace lockstep
