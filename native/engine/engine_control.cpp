// How an engine carries out what is asked of it as a whole (engine/control.h). Engine thread only, between two
// steps: nothing is being computed.
#include <algorithm>

#include "base/error.h"
#include "engine/engine_parts.h"

namespace lockstep {
namespace {

bool concerns_running(Control::Kind kind) {
  return kind == Control::Kind::kPause || kind == Control::Kind::kUpdate || kind == Control::Kind::kSleep;
}

std::unique_ptr<EngineEvent> answer_to(uint64_t control_id) {
  return std::make_unique<EngineEvent>(EngineEvent{.kind = EngineEvent::Kind::kDone, .control = control_id});
}

}  // namespace

void Engine::handle(Parts&, Control& control) { controls_.push_back(std::move(control)); }

void Engine::handle(Parts& parts, const Cancel& cancel) {
  const auto found = std::ranges::find(controls_, cancel.control_id, &Control::id);
  if (found == controls_.end()) return;
  parts.scheduler.hold_new(false);
  controls_.erase(found);
  auto event = answer_to(cancel.control_id);
  event->code = "CANCELLED";
  answer(std::move(event));
}

void Engine::carry_out_controls(Parts& parts) {
  if (!controls_.empty()) settle(parts);
  while (!controls_.empty() && carry_out(parts, controls_.front())) controls_.pop_front();
}

// False where it has to wait for requests that have begun: it is tried again after the next step.
bool Engine::carry_out(Parts& parts, Control& control) {
  const bool waits =
      concerns_running(control.kind) && control.running == Running::kWait && !parts.scheduler.drained();
  parts.scheduler.hold_new(waits && !halted());
  if (waits && !halted()) return false;
  auto event = answer_to(control.id);
  try {
    if (waits)
      throw Error(
          "INVALID_ARGUMENT",
          "Expected mode 'abort' or 'continue', or continue() or wake() first, since the engine is "
          "paused or asleep: the requests it holds cannot finish, and to wait for them would take for "
          "ever");
    if (control.kind == Control::Kind::kUpdate) parts.ranks.check_weights(control.weights);
    perform(parts, control, *event);
  } catch (...) {
    const Failure failure = describe(std::current_exception());
    if (cancel_ || changing_weights_ || failure.code == "ENGINE_FAILED") throw;
    event->code = failure.code;
    event->message = failure.message;
  }
  update_stats(parts);
  answer(std::move(event));
  return true;
}

void Engine::perform(Parts& parts, Control& control, EngineEvent& event) {
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
      return update_weights(parts, control);
    case Kind::kRead:
      event.data = parts.ranks.read(control.tensor);
      return;
    case Kind::kSleep:
      parts.scheduler.preempt_all();
      parts.pool.drop_cached();
      parts.ranks.sleep(control.keep_weights);
      asleep_ = true;
      return;
    case Kind::kWake:
      if (asleep_) parts.ranks.wake();
      asleep_ = false;
      return;
  }
}

// A failure in the middle is the engine's: its weights are neither the old ones nor the new.
void Engine::update_weights(Parts& parts, Control& control) {
  parts.scheduler.preempt_all();
  parts.pool.drop_cached();
  changing_weights_ = true;
  parts.ranks.replace_weights(std::move(control.weights));
  changing_weights_ = false;
  weight_version_ = control.version;
  for (const auto& [id, request] : open_) {
    request->root.back() = weight_version_;
    // A score or an embedding is of one version: where some of its rows are missing, those that are there are
    // forgotten, too.
    if (request->next_scored() < request->prompt_length) request->scored.clear();
    request->forget_pooled();
  }
}

void Engine::abort_begun(Parts& parts) {
  std::vector<uint64_t> begun;
  for (const auto& [id, request] : open_)
    if (Scheduler::begun(*request)) begun.push_back(id);
  for (const uint64_t id : begun) handle(parts, End{id, FinishReason::kAbort});
}

// What came before it is published first.
void Engine::answer(std::unique_ptr<EngineEvent> event) {
  publish(EngineEvent::Kind::kStep);
  event->weight_version = weight_version_;
  listener_(std::move(event));
}

}  // namespace lockstep
