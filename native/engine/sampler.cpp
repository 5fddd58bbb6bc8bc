#include "engine/sampler.h"

#include <algorithm>
#include <utility>

namespace lockstep {
namespace {

void fail_non_finite(RequestEvent& event, int32_t position) {
  event.finish = FinishReason::kError;
  event.error_code = "NON_FINITE_LOGITS";
  event.error_message = "The model's logits at position " + std::to_string(position) +
                        " hold NaN or infinity: the checkpoint's weights, or this input, overflow";
}

void fail_all_banned(RequestEvent& event, int32_t position) {
  event.finish = FinishReason::kError;
  event.error_code = "INVALID_ARGUMENT";
  event.error_message = "Expected a token to be left to sample after position " + std::to_string(position) +
                        " but logitBias and the stop ids that minTokens masks ban every one";
}

FinishReason finish_reason(const Request& request, int32_t token) {
  const auto& stops = request.sampling.stop_token_ids;
  // Drawn ones cannot stop before min_tokens, for they are banned; a forced one does not either.
  if (request.output_length() > request.sampling.min_tokens &&
      std::find(stops.begin(), stops.end(), token) != stops.end())
    return FinishReason::kStop;
  return request.output_length() >= request.sampling.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

void take_token(Request& request, int32_t token) {
  if (request.tokens.back() < 0)
    request.tokens.back() = token;  // a step ahead has counted on it
  else
    request.tokens.push_back(token);
  if (request.sampling.penalized()) request.history.add_output(token);
}

// The event of the request whose rows are [begin, end).
RequestEvent take_rows(const Scheduled& part, Batch& batch, size_t begin, size_t end) {
  Request& request = *part.request;
  RequestEvent event{.id = request.id, .cached_tokens = request.cached_tokens};
  for (size_t row = begin; row < end && event.finish != FinishReason::kError; ++row) {
    SampleResult& result = batch.results[row];
    if (!result.finite) {
      fail_non_finite(event, batch.step.positions[batch.step.head_rows[row]]);
    } else if (result.all_banned) {
      fail_all_banned(event, batch.step.positions[batch.step.head_rows[row]]);
    } else if (batch.head_rows[row].sampled) {
      take_token(request, result.token);
      event.finish = finish_reason(request, result.token);
      event.sample = std::move(result);
    } else {
      request.scored.push_back(std::move(result));
    }
  }
  const bool scored_all =
      request.sampling.max_tokens == 0 && part.begin + part.num_tokens == request.length();
  if (event.finish == FinishReason::kNone && scored_all) event.finish = FinishReason::kLength;
  if (event.finish != FinishReason::kNone) event.scored = std::move(request.scored);
  return event;
}

}  // namespace

std::vector<RequestEvent> take_results(Batch& batch) {
  std::vector<RequestEvent> events;
  size_t end = 0;  // rows lie in the order of the sequences
  for (size_t i = 0; i < batch.scheduled.size(); ++i) {
    const size_t begin = end;
    while (end < batch.head_rows.size() && batch.head_rows[end].sequence == i) ++end;
    if (batch.scheduled[i].request == nullptr) continue;
    RequestEvent event = take_rows(batch.scheduled[i], batch, begin, end);
    if (event.sample.token >= 0 || event.finish != FinishReason::kNone) events.push_back(std::move(event));
  }
  return events;
}

}  // namespace lockstep
