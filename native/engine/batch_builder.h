// From the scheduler's choice to the arrays that the model reads. Engine thread only.
#pragma once
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "model/model.h"

namespace lockstep {

// Whose a row of logits is.
struct HeadRow {
  size_t sequence;  // of the step
  bool sampled;     // true: the request's next token is drawn from it; false: it scores a prompt token
};

// A step and who is in it. Reused from step to step, so that it stops allocating.
struct Batch {
  Step step;
  std::vector<Scheduled> scheduled;   // [S]; the request is null where it ended while the step was in flight
  std::vector<HeadRow> head_rows;     // as step.head_rows
  std::vector<SampleResult> results;  // as head_rows, once the step is collected
  std::vector<int32_t> pooled_rows;   // see engine/pooling.h
  std::vector<BFloat16> hidden;       // [pooled_rows, D]
};

// How the request's next token is to be drawn. The row refers to the request's vectors.
SampleRow sampling_row(const Request& request);

void build_batch(Batch& batch, std::span<const Scheduled> scheduled);

}  // namespace lockstep
