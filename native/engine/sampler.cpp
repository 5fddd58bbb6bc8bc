#include "engine/sampler.h"

#include <algorithm>
#include <utility>

namespace lockstep {
namespace {

// Ids in a request's lists of kept tokens, at most: 134 MB in JavaScript's heap (8 bytes each, Node 20, 2026-11).
constexpr int64_t kMostKept = int64_t{1} << 24;

void run_head(std::vector<SampleResult>& results, const Step& step, RankGroup& ranks) {
  const size_t count = step.head_rows.size();
  results.assign(count, SampleResult{});
  for (size_t begin = 0; begin < count; begin += kMaxLogitRows) {
    const size_t rows = std::min<size_t>(kMaxLogitRows, count - begin);
    ranks.sample(std::span(results).subspan(begin, rows), std::span(step.head_rows).subspan(begin, rows),
                 std::span(step.samples).subspan(begin, rows));
  }
}

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

void fail_too_many_kept(RequestEvent& event, int32_t output_length) {
  event.finish = FinishReason::kError;
  event.error_code = "INVALID_ARGUMENT";
  event.error_message = "Expected at most " + std::to_string(kMostKept) +
                        " keptTokenIds in one result but there are more after " +
                        std::to_string(output_length + 1) +
                        " tokens: lower topK, topP or maxTokens, or raise minP";
}

FinishReason finish_reason(const Request& request, int32_t token) {
  const auto& stops = request.sampling.stop_token_ids;
  // Drawn ones cannot stop before min_tokens, for they are banned; a forced one does not either.
  if (request.output_length() > request.sampling.min_tokens &&
      std::find(stops.begin(), stops.end(), token) != stops.end())
    return FinishReason::kStop;
  return request.output_length() >= request.sampling.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

// Results [next, ...) that belong to `request` become its event.
RequestEvent take_results(Request& request, const Batch& batch, std::vector<SampleResult>& results,
                          size_t& next) {
  RequestEvent event{.id = request.id, .cached_tokens = request.cached_tokens};
  for (; next < results.size() && batch.head_rows[next].request == &request; ++next) {
    SampleResult& result = results[next];
    if (event.finish == FinishReason::kError) continue;
    if (!result.finite) {
      fail_non_finite(event, batch.step.positions[batch.step.head_rows[next]]);
    } else if (result.all_banned) {
      fail_all_banned(event, batch.step.positions[batch.step.head_rows[next]]);
    } else if (request.num_kept += std::ssize(result.kept_token_ids); request.num_kept > kMostKept) {
      fail_too_many_kept(event, request.output_length());
    } else if (batch.head_rows[next].sampled) {
      request.tokens.push_back(result.token);
      if (request.sampling.penalized()) request.history.add_output(result.token);
      event.finish = finish_reason(request, result.token);
      event.sample = std::move(result);
    } else {
      request.scored.push_back(std::move(result));
    }
  }
  const bool scored_all = request.sampling.max_tokens == 0 && request.pending_tokens() == 0;
  if (event.finish == FinishReason::kNone && scored_all) event.finish = FinishReason::kLength;
  if (event.finish != FinishReason::kNone) event.scored = std::move(request.scored);
  return event;
}

}  // namespace

void sample_step(std::vector<RequestEvent>& events, const Batch& batch, std::span<const Scheduled> scheduled,
                 RankGroup& ranks, std::vector<SampleResult>& scratch) {
  run_head(scratch, batch.step, ranks);
  size_t next = 0;  // rows lie in the order of `scheduled`
  for (const auto& [request, num_tokens] : scheduled) {
    RequestEvent event = take_results(*request, batch, scratch, next);
    if (event.sample.token >= 0 || event.finish != FinishReason::kNone) events.push_back(std::move(event));
  }
}

}  // namespace lockstep
