#include "engine/sampler.h"

#include <algorithm>
#include <utility>

#include "engine/pooling.h"

namespace lockstep {
namespace {

// Ids in a request's lists of kept tokens, at most: 134 MB in JavaScript's heap (8 bytes each, Node 20, 2026-11).
constexpr int64_t kMostKept = int64_t{1} << 24;

std::string place_of(const NonFinite& found, int32_t position) {
  const std::string layer = " of model.layers." + std::to_string(found.layer);
  std::string place = "the head";  // where the model's parts are finite
  if (found.part == ModelPart::kEmbedding) place = "the embedding";
  if (found.part == ModelPart::kAttention) place = "the attention" + layer;
  if (found.part == ModelPart::kMlp) place = "the MLP" + layer;
  if (found.part == ModelPart::kNorm) place = "the last norm";
  return place + ", at position " + std::to_string(position);
}

// `what`: "logits at", say.
void fail_non_finite(RequestEvent& event, const Request& request, const char* what, int32_t position,
                     bool debug) {
  event.finish = FinishReason::kError;
  event.error_code = "NON_FINITE_LOGITS";
  event.error_message = std::string("The model's ") + what + " position " + std::to_string(position) +
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

void fail_too_many_kept(RequestEvent& event, int32_t tokens) {
  event.finish = FinishReason::kError;
  event.error_code = "INVALID_ARGUMENT";
  event.error_message = "Expected at most " + std::to_string(kMostKept) +
                        " keptTokenIds in one result but there are more after " + std::to_string(tokens) +
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

void take_token(Request& request, int32_t token) {
  if (request.tokens.back() < 0)
    request.tokens.back() = token;  // a step ahead has counted on it
  else
    request.tokens.push_back(token);
  if (request.sampling.penalized()) request.history.add_output(token);
}

void take_embedding(RequestEvent& event, Request& request, bool debug) {
  if (finish_pooling(request))
    event.pooled = std::move(request.pooled);
  else
    fail_non_finite(event, request, "hidden states up to", request.length() - 1, debug);
}

// The event of the request whose rows are [begin, end).
RequestEvent take_rows(const Scheduled& part, Batch& batch, size_t begin, size_t end, bool debug) {
  Request& request = *part.request;
  RequestEvent event{.id = request.id, .cached_tokens = request.cached_tokens};
  for (size_t row = begin; row < end && event.finish != FinishReason::kError; ++row) {
    SampleResult& result = batch.results[row];
    const int32_t position = batch.step.positions[batch.step.head_rows[row]];
    if (!result.finite) {
      fail_non_finite(event, request, "logits at", position, debug);
    } else if (result.all_banned) {
      fail_all_banned(event, position);
    } else if (request.num_kept += std::ssize(result.kept_token_ids); request.num_kept > kMostKept) {
      fail_too_many_kept(event, position + 2 - request.prompt_length);
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
  if (event.finish == FinishReason::kLength && request.pooling != Pooling::kNone)
    take_embedding(event, request, debug);
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

std::vector<RequestEvent> take_results(Batch& batch, bool debug) {
  std::vector<RequestEvent> events;
  size_t end = 0;  // rows lie in the order of the sequences
  for (size_t i = 0; i < batch.scheduled.size(); ++i) {
    const size_t begin = end;
    while (end < batch.head_rows.size() && batch.head_rows[end].sequence == i) ++end;
    if (batch.scheduled[i].request == nullptr) continue;
    RequestEvent event = take_rows(batch.scheduled[i], batch, begin, end, debug);
    if (event.sample.token >= 0 || event.finish != FinishReason::kNone) events.push_back(std::move(event));
  }
  return events;
}

}  // namespace lockstep
