// From the step's hidden rows to new tokens: runs head and sampling verb in groups of rows, hands each result
// to its request, and decides which requests end. Engine thread only.
#pragma once
#include <vector>

#include "engine/batch_builder.h"
#include "engine/rank.h"

namespace lockstep {

// Remembers of each request where NaN or infinity first showed. rows [T] as Model::non_finite(); nothing where it is
// empty.
void note_non_finite(std::span<const Scheduled> scheduled, const Step& step, std::span<const NonFinite> rows);

// Appends one event for each request that took a token, finished or failed in this step. Requests are changed
// (tokens, scored) but not removed from the scheduler: that is the caller's.
void sample_step(std::vector<RequestEvent>& events, const Batch& batch, std::span<const Scheduled> scheduled,
                 RankGroup& ranks, std::vector<SampleResult>& scratch);

}  // namespace lockstep
