// From the step's hidden rows to new tokens: runs head and sampling verb in groups of rows, hands each result
// to its request, and decides which requests end. Engine thread only.
#pragma once
#include <vector>

#include "engine/batch_builder.h"
#include "engine/rank.h"

namespace lockstep {

// Appends one event for each request that took a token, finished or failed in this step. Requests are changed
// (tokens, scored) but not removed from the scheduler: that is the caller's.
void sample_step(std::vector<RequestEvent>& events, const Batch& batch, std::span<const Scheduled> scheduled,
                 RankGroup& ranks, std::vector<SampleResult>& scratch);

}  // namespace lockstep
