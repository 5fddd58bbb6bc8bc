#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "base/error.h"
#include "engine/engine_parts.h"
#include "engine/sampler.h"

namespace lockstep {
namespace {

constexpr const char* kClosedMessage = "The engine was closed before this request had finished";
constexpr auto kFileCheckInterval = std::chrono::seconds(1);

// Does what must be done though there may be no memory for it: again and again, until there is. `body` goes
// on where it was interrupted.
template <class Body>
void insist(Body body) noexcept {
  for (;;) {
    try {
      return body();
    } catch (...) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

}  // namespace

Failure describe(const std::exception_ptr& cause) {
  try {
    std::rethrow_exception(cause);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {"OUT_OF_MEMORY", "Out of memory in the engine"};
  } catch (const std::exception& error) {
    return {"ENGINE_FAILED", error.what()};
  } catch (...) {
    return {"ENGINE_FAILED", "An unknown exception in the engine"};
  }
}

Engine::Engine(EngineSpec spec, Listener listener)
    : spec_(std::move(spec)), listener_(std::move(listener)), thread_([this] { run(); }) {}

Engine::~Engine() {
  close();
  thread_.join();
}

void Engine::submit(std::unique_ptr<Request> request) {
  if (!mailbox_.post(Submit{std::move(request)})) throw Error("ENGINE_CLOSED", "The engine is closed");
}

void Engine::end(uint64_t id, FinishReason reason) { mailbox_.post(End{id, reason}); }

void Engine::control(Control control) { mailbox_.post(std::move(control)); }

void Engine::cancel(uint64_t control_id) { mailbox_.post(Cancel{control_id}); }

void Engine::close() noexcept {
  cancel_ = true;
  mailbox_.close();
}

EngineStats Engine::stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

int64_t Engine::capacity_tokens() const {
  if (spec_.num_blocks > 0) return int64_t{spec_.num_blocks} * kBlockTokens;
  const EngineStats now = stats();
  return static_cast<int64_t>(now.free_blocks + now.cached_blocks + now.owned_blocks) * kBlockTokens;
}

void Engine::run() {
  std::exception_ptr cause;
  try {
    Parts parts(spec_, cancel_);
    update_stats(parts);
    listener_(std::make_unique<EngineEvent>(EngineEvent{.kind = EngineEvent::Kind::kLoaded,
                                                        .compute_path = parts.ranks.ops().compute_path(),
                                                        .num_blocks = parts.ranks.num_blocks()}));
    serve(parts);
  } catch (...) {
    cause = std::current_exception();
  }
  reject_until_closed(cause);
}

void Engine::serve(Parts& parts) {
  while (!cancel_) {
    const bool idle = controls_.empty() && (open_.empty() || paused_);
    handle_commands(parts, idle);
    if (cancel_) break;
    check_files(parts, idle);
    carry_out_controls(parts);
    if (!paused_) step(parts);
    update_stats(parts);
    publish(EngineEvent::Kind::kStep);
  }
  throw Error("ENGINE_CLOSED", kClosedMessage);
}

void Engine::handle_commands(Parts& parts, bool wait) {
  mailbox_.take(commands_, wait);
  for (; !commands_.empty(); commands_.pop_front())
    std::visit([&](auto& command) { handle(parts, command); }, commands_.front());
}

void Engine::handle(Parts& parts, Submit& submit) {
  Request* const request = submit.request.get();
  parts.stats.prompt_tokens += static_cast<uint64_t>(request->prompt_length);
  request->root.back() = weight_version_;
  parts.scheduler.add(request);
  open_.try_emplace(request->id).first->second = std::move(submit.request);
}

void Engine::handle(Parts& parts, const End& end) {
  const auto found = open_.find(end.id);
  if (found == open_.end()) return;
  Request& request = *found->second;
  parts.scheduler.remove(&request);
  events_.push_back({.id = end.id,
                     .finish = end.reason,
                     .scored = std::move(request.scored),
                     .cached_tokens = request.cached_tokens});
  open_.erase(found);
  parts.stats.aborts += end.reason == FinishReason::kAbort;
}

// Mapped weights must be the ones that were loaded: asked after each wait, and once a second at work.
void Engine::check_files(Parts& parts, bool after_idle) {
  const auto now = std::chrono::steady_clock::now();
  if (!after_idle && now - parts.files_checked < kFileCheckInterval) return;
  parts.files_checked = now;
  parts.ranks.store().check_unchanged();
}

void Engine::step(Parts& parts) {
  const auto scheduled = parts.scheduler.schedule();
  if (scheduled.empty()) return;
  build_batch(parts.batch, scheduled);
  parts.ranks.forward(parts.batch.step);
  for (const Scheduled& part : scheduled) parts.scheduler.mark_computed(part);

  std::vector<RequestEvent> events;
  sample_step(events, parts.batch, scheduled, parts.ranks, parts.results);
  parts.ranks.store().check_nothing_lost();
  for (RequestEvent& event : events) {
    const uint64_t id = event.id;
    const bool finished = event.finish != FinishReason::kNone;
    parts.stats.generated_tokens += event.sample.token >= 0;
    if (finished) parts.scheduler.remove(open_.at(id).get());
    events_.push_back(std::move(event));
    if (finished) open_.erase(id);
  }
  ++parts.stats.steps;
  parts.stats.computed_tokens += parts.batch.step.tokens.size();
  parts.stats.max_batch = std::max<uint64_t>(parts.stats.max_batch, scheduled.size());
}

void Engine::publish(EngineEvent::Kind kind, const std::string& code, const std::string& message) {
  if (events_.empty() && kind == EngineEvent::Kind::kStep) return;
  auto event = std::make_unique<EngineEvent>(
      EngineEvent{.kind = kind, .weight_version = weight_version_, .code = code, .message = message});
  event->requests.swap(events_);  // nothing can fail from here on
  listener_(std::move(event));
}

void Engine::update_stats(const Parts& parts) {
  std::lock_guard lock(stats_mutex_);
  stats_ = parts.stats;
  stats_.preemptions = parts.scheduler.preemptions();
  stats_.waiting = parts.scheduler.waiting_count();
  stats_.running = parts.scheduler.running_count();
  stats_.cached_tokens = parts.scheduler.cached_tokens();
  stats_.full_hits = parts.scheduler.full_hits();
  stats_.partial_hits = parts.scheduler.partial_hits();
  stats_.evictions = parts.pool.evictions();
  stats_.cached_blocks = static_cast<uint64_t>(parts.pool.cached_count());
  stats_.free_blocks = static_cast<uint64_t>(parts.pool.free_count());
  stats_.owned_blocks = static_cast<uint64_t>(parts.pool.owned_count());
  stats_.device_bytes = parts.ranks.device_bytes();
}

// After the parts are gone: nothing runs, nobody owns a block, and their memory is back.
void Engine::forget_parts() {
  std::lock_guard lock(stats_mutex_);
  stats_.free_blocks += stats_.cached_blocks + stats_.owned_blocks;
  stats_.waiting = stats_.running = stats_.cached_blocks = stats_.owned_blocks = stats_.device_bytes = 0;
}

// Everything that is open or was just submitted. May be called again where it threw.
void Engine::reject_all(const char* code, const std::string& message) {
  const auto reject = [&](uint64_t id) {
    events_.push_back(
        {.id = id, .finish = FinishReason::kError, .error_code = code, .error_message = message});
  };
  for (; !open_.empty(); open_.erase(open_.begin())) reject(open_.begin()->first);
  for (; !commands_.empty(); commands_.pop_front()) {
    const auto* const submit = std::get_if<Submit>(&commands_.front());
    if (submit != nullptr && submit->request != nullptr) reject(submit->request->id);
  }
}

// The end of every engine: its parts are gone already, so their memory is back before anybody hears of it.
void Engine::reject_until_closed(const std::exception_ptr& cause) noexcept {
  using Kind = EngineEvent::Kind;
  forget_parts();
  controls_.clear();
  Failure failure;
  insist([&] { failure = describe(cause); });
  const bool failed = failure.code != "ENGINE_CLOSED";
  if (!failed) insist([&] { failure.message = kClosedMessage; });
  const char* const rejection = failed ? "ENGINE_FAILED" : "ENGINE_CLOSED";
  insist([&] { reject_all(rejection, failure.message); });
  if (failed) insist([&] { publish(Kind::kFailed, failure.code, failure.message); });
  for (bool more = true; more;) {
    more = mailbox_.take(commands_, true);
    insist([&] { reject_all(rejection, failure.message); });
    insist([&] { publish(Kind::kStep); });
  }
  insist([&] { publish(Kind::kClosed); });
}

}  // namespace lockstep
