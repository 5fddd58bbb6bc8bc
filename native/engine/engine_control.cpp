// How an engine carries out what is asked of it as a whole (engine/control.h). Engine thread only, between two
// steps: nothing is being computed.
#include <algorithm>

#include "base/error.h"
#include "engine/engine_parts.h"

namespace lockstep {
namespace {

bool concerns_running(Control::Kind kind) {
  return kind == Control::Kind::kPause || kind == Control::Kind::kUpdate;
}

}  // namespace

void Engine::handle(Parts&, Control& control) { controls_.push_back(std::move(control)); }

void Engine::handle(Parts& parts, const Cancel& cancel) {
  const auto found = std::ranges::find(controls_, cancel.control_id, &Control::id);
  if (found == controls_.end()) return;
  parts.scheduler.hold_new(false);
  controls_.erase(found);
  answer(cancel.control_id, {"CANCELLED", ""});
}

void Engine::carry_out_controls(Parts& parts) {
  if (!controls_.empty()) settle(parts);
  while (!controls_.empty() && carry_out(parts, controls_.front())) controls_.pop_front();
}

// False where it has to wait for requests that have begun: it is tried again after the next step.
bool Engine::carry_out(Parts& parts, Control& control) {
  const bool waits = concerns_running(control.kind) && control.running == Running::kWait;
  if (waits && !parts.scheduler.drained() && !paused_) {
    parts.scheduler.hold_new(true);
    return false;
  }
  parts.scheduler.hold_new(false);
  const Failure refusal = refusal_of(parts, control);
  if (refusal.code.empty()) {
    perform(parts, control);
    update_stats(parts);
  }
  answer(control.id, refusal);
  return true;
}

// Why it cannot be done, asked before anything has changed; empty where it can.
Failure Engine::refusal_of(const Parts& parts, const Control& control) const {
  const bool waits = concerns_running(control.kind) && control.running == Running::kWait;
  if (waits && !parts.scheduler.drained())
    return {
        "INVALID_ARGUMENT",
        "Expected mode 'abort' or 'continue', or continue() first, since the engine is paused: the requests "
        "it holds cannot finish, and to wait for them would take for ever"};
  try {
    if (control.kind == Control::Kind::kUpdate) parts.ranks.check_weights(control.weights);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

void Engine::perform(Parts& parts, Control& control) {
  using Kind = Control::Kind;
  if (concerns_running(control.kind) && control.running == Running::kAbort) abort_begun(parts);
  publish(EngineEvent::Kind::kStep);  // what has seen nothing of this
  switch (control.kind) {
    case Kind::kPause:
      paused_ = true;
      return;
    case Kind::kContinue:
      paused_ = false;
      return;
    case Kind::kFlush:
      return parts.pool.drop_cached();
    case Kind::kUpdate:
      forget_computed(parts);
      parts.ranks.replace_weights(std::move(control.weights));
      weight_version_ = control.version;
      for (const auto& [id, request] : open_) request->root.back() = weight_version_;
      return;
  }
}

void Engine::abort_begun(Parts& parts) {
  std::vector<uint64_t> begun;
  for (const auto& [id, request] : open_)
    if (Scheduler::begun(*request)) begun.push_back(id);
  for (const uint64_t id : begun) handle(parts, End{id, FinishReason::kAbort});
}

// K and V of all tokens. A score or an embedding must be of one version of the weights: where some of its rows
// are missing, those that are there are forgotten, too.
void Engine::forget_computed(Parts& parts) {
  parts.scheduler.preempt_all();
  parts.pool.drop_cached();
  for (const auto& [id, request] : open_) {
    if (request->next_scored() < request->prompt_length) request->scored.clear();
    request->forget_pooled();
  }
}

// What came before it is published first.
void Engine::answer(uint64_t control_id, const Failure& refusal) {
  publish(EngineEvent::Kind::kStep);
  listener_(std::make_unique<EngineEvent>(EngineEvent{.kind = EngineEvent::Kind::kDone,
                                                      .weight_version = weight_version_,
                                                      .control = control_id,
                                                      .code = refusal.code,
                                                      .message = refusal.message}));
}

}  // namespace lockstep
