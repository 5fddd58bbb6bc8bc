// How an engine carries out what is asked of it as a whole (engine/control.h). Engine thread only, between two
// steps: nothing is being computed.
#include <algorithm>

#include "base/error.h"
#include "engine/engine_parts.h"

namespace lockstep {
namespace {

bool concerns_running(Control::Kind kind) { return kind == Control::Kind::kPause; }

}  // namespace

void Engine::handle(Parts&, Control& control) { controls_.push_back(std::move(control)); }

void Engine::handle(Parts& parts, const Cancel& cancel) {
  const auto found = std::ranges::find(controls_, cancel.control_id, &Control::id);
  if (found == controls_.end()) return;
  parts.scheduler.hold_new(false);
  controls_.erase(found);
  answer(cancel.control_id, "CANCELLED");
}

void Engine::carry_out_controls(Parts& parts) {
  while (!controls_.empty() && carry_out(parts, controls_.front())) controls_.pop_front();
}

// False where it has to wait for requests that have begun: it is tried again after the next step.
bool Engine::carry_out(Parts& parts, Control& control) {
  const bool concerned = concerns_running(control.kind);
  if (concerned && control.running == Running::kWait && !parts.scheduler.drained()) {
    if (paused_) {
      answer(control.id, "INVALID_ARGUMENT",
             "Expected mode 'abort' or 'continue', or continue() before it, since the engine is paused: the "
             "requests it holds cannot finish, and to wait for them would take for ever");
      return true;
    }
    parts.scheduler.hold_new(true);
    return false;
  }
  if (concerned) settle_running(parts, control);
  parts.scheduler.hold_new(false);
  perform(parts, control);
  update_stats(parts);
  answer(control.id);
  return true;
}

void Engine::settle_running(Parts& parts, const Control& control) {
  if (control.running != Running::kAbort) return;
  std::vector<uint64_t> begun;
  for (const auto& [id, request] : open_)
    if (Scheduler::begun(*request)) begun.push_back(id);
  for (const uint64_t id : begun) handle(parts, End{id, FinishReason::kAbort});
}

void Engine::perform(Parts& parts, Control& control) {
  switch (control.kind) {
    case Control::Kind::kPause:
      paused_ = true;
      return;
    case Control::Kind::kContinue:
      paused_ = false;
      return;
    case Control::Kind::kFlush:
      parts.pool.drop_cached();
      return;
  }
}

// What came before it is published first.
void Engine::answer(uint64_t control_id, const std::string& code, const std::string& message) {
  publish(EngineEvent::Kind::kStep);
  listener_(std::make_unique<EngineEvent>(EngineEvent{
      .kind = EngineEvent::Kind::kDone, .control = control_id, .code = code, .message = message}));
}

}  // namespace lockstep
