// From the hidden rows of steps to embeddings: means of hidden states, summed in float64 in the order of the
// positions, so that neither chunks nor company change a bit. Engine thread only.
#pragma once
#include "engine/batch_builder.h"
#include "engine/rank.h"

namespace lockstep {

// Of the step that was sampled last: adds the rows that its requests pool to Request::pooled. Waits for the step
// where there are any, also on devices that run ahead.
void pool_rows(Batch& batch, RankGroup& ranks);

// Request::pooled, once it is complete, as the mean. False where that is not finite.
bool finish_pooling(Request& request);

}  // namespace lockstep
