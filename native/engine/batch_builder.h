// From the scheduler's choice to the arrays that the model reads. Engine thread only.
#pragma once
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "model/model.h"

namespace lockstep {

// Whose a row of logits is.
struct HeadRow {
  Request* request;
  bool sampled;  // true: the request's next token is drawn from it; false: it scores a prompt token
};

// A step and its head rows' owners, row for row. Reused from step to step, so that it stops allocating.
struct Batch {
  Step step;
  std::vector<HeadRow> head_rows;
};

// How the request's next token is to be drawn. The row refers to the request's vectors.
SampleRow sampling_row(const Request& request);

void build_batch(Batch& batch, std::span<const Scheduled> scheduled);

}  // namespace lockstep
