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

std::string place_of(const NonFinite& found, int32_t position) {
  const std::string layer = " of model.layers." + std::to_string(found.layer);
  std::string place = "the head";  // where the model's parts are finite
  if (found.part == ModelPart::kEmbedding) place = "the embedding";
  if (found.part == ModelPart::kAttention) place = "the attention" + layer;
  if (found.part == ModelPart::kMlp) place = "the MLP" + layer;
  if (found.part == ModelPart::kNorm) place = "the last norm";
  return place + ", at position " + std::to_string(position);
}

void fail_non_finite(RequestEvent& event, const Request& request, int32_t position, bool debug) {
  event.finish = FinishReason::kError;
  event.error_code = "NON_FINITE_LOGITS";
  event.error_message = "The model's logits at position " + std::to_string(position) +
                        " hold NaN or infinity: the checkpoint's weights, or this input, overflow";
  if (!debug) {
    event.error_message += " (Engine.load's option debug names the layer)";
    return;
  }
  event.error_message +=
      "; first in " + (request.non_finite.empty() ? place_of({}, position) : request.non_finite);
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
                          size_t& next, bool debug) {
  RequestEvent event{.id = request.id, .cached_tokens = request.cached_tokens};
  for (; next < results.size() && batch.head_rows[next].request == &request; ++next) {
    SampleResult& result = results[next];
    if (event.finish == FinishReason::kError) continue;
    if (!result.finite) {
      fail_non_finite(event, request, batch.step.positions[batch.step.head_rows[next]], debug);
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

// A row depends on rows of earlier positions only: the first of them is where it came from.
void note_non_finite(std::span<const Scheduled> scheduled, const Step& step,
                     std::span<const NonFinite> rows) {
  if (rows.empty()) return;
  for (size_t i = 0; i < scheduled.size(); ++i) {
    Request& request = *scheduled[i].request;
    const SequenceSlice& slice = step.sequences[i];
    for (int32_t t = 0; t < slice.num_tokens && request.non_finite.empty(); ++t) {
      const NonFinite& found = rows[static_cast<size_t>(slice.first_row + t)];
      if (found.part != ModelPart::kNone) request.non_finite = place_of(found, slice.start_position + t);
    }
  }
}

void sample_step(std::vector<RequestEvent>& events, const Batch& batch, std::span<const Scheduled> scheduled,
                 RankGroup& ranks, std::vector<SampleResult>& scratch) {
  run_head(scratch, batch.step, ranks);
  size_t next = 0;  // rows lie in the order of `scheduled`
  for (const auto& [request, num_tokens] : scheduled) {
    RequestEvent event = take_results(*request, batch, scratch, next, !ranks.model().non_finite().empty());
    if (event.sample.token >= 0 || event.finish != FinishReason::kNone) events.push_back(std::move(event));
  }
}

}  // namespace lockstep
