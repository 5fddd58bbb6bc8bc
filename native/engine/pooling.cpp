#include "engine/pooling.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lockstep {
namespace {

double widened(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

// Calls body(request, row of the step) for each row that a request pools, in their order.
template <class Body>
void for_each_pooled(const Batch& batch, Body body) {
  for (size_t i = 0; i < batch.scheduled.size(); ++i) {
    const auto& [request, num_tokens, begin] = batch.scheduled[i];
    const int32_t first_row = batch.step.sequences[i].first_row;
    for (int32_t p = std::max(begin, request->next_pooled); p < begin + num_tokens; ++p)
      body(*request, first_row + p - begin);
  }
}

}  // namespace

void pool_rows(Batch& batch, RankGroup& ranks) {
  batch.pooled_rows.clear();
  for_each_pooled(batch, [&](Request&, int32_t row) { batch.pooled_rows.push_back(row); });
  if (batch.pooled_rows.empty()) return;
  const int64_t rows = std::ssize(batch.pooled_rows), D = ranks.model().config().hidden_size;
  batch.hidden.resize(static_cast<size_t>(rows * D));
  const Matrix<BFloat16> hidden(batch.hidden.data(), rows, D);
  ranks.read_hidden(hidden, batch.pooled_rows);
  int64_t next = 0;
  for_each_pooled(batch, [&](Request& request, int32_t) {
    const BFloat16* const row = hidden.row(next++);
    request.pooled.resize(static_cast<size_t>(D));
    for (int64_t i = 0; i < D; ++i) request.pooled[i] += widened(row[i]);
    ++request.next_pooled;
  });
}

bool finish_pooling(Request& request) {
  if (request.pooling == Pooling::kMean)
    for (double& value : request.pooled) value /= request.length();
  return std::ranges::all_of(request.pooled, [](double value) { return std::isfinite(value); });
}

}  // namespace lockstep
