#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "base/error.h"
#include "engine/engine_parts.h"
#include "engine/pooling.h"
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
    const bool idle = controls_.empty() && (open_.empty() || halted());
    handle_commands(parts, idle);
    if (cancel_) break;
    if (idle) parts.busy_since = std::chrono::steady_clock::now();
    check_files(parts, idle);
    carry_out_controls(parts);
    if (!halted()) step(parts);
    update_stats(parts);
    publish(EngineEvent::Kind::kStep);
  }
  throw Error("ENGINE_CLOSED", kClosedMessage);
}

// Commands find nothing in flight.
void Engine::handle_commands(Parts& parts, bool wait) {
  mailbox_.take(commands_, wait);
  if (!commands_.empty()) settle(parts);
  for (; !commands_.empty(); commands_.pop_front())
    std::visit([&](auto& command) { handle(parts, command); }, commands_.front());
}

void Engine::handle(Parts& parts, Submit& submit) {
  Request* const request = submit.request.get();
  parts.stats.prompt_tokens += static_cast<uint64_t>(request->length());
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

// Launches the next step and waits for the one before it; where devices do not run ahead, for the step itself.
void Engine::step(Parts& parts) {
  Batch* const before = parts.in_flight;
  const auto scheduled = before == nullptr ? parts.scheduler.schedule() : parts.scheduler.schedule_ahead();
  if (!scheduled.empty()) launch(parts, scheduled);
  if (before != nullptr) collect(parts, *before);
  if (!parts.ranks.runs_ahead() || open_.empty()) settle(parts);
}

void Engine::launch(Parts& parts, std::span<const Scheduled> scheduled) {
  Batch& batch = parts.batches[parts.in_flight == &parts.batches[0] ? 1 : 0];
  build_batch(batch, scheduled);
  parts.ranks.forward(batch.step);
  note_non_finite(scheduled, batch.step, parts.ranks.model().non_finite());
  batch.results.assign(batch.head_rows.size(), SampleResult{});
  parts.ranks.sample(batch.results, batch.step);
  pool_rows(batch, parts.ranks);
  for (const Scheduled& part : scheduled) parts.scheduler.mark_launched(part);
  parts.stats.steps_ahead += parts.in_flight != nullptr;
  parts.in_flight = &batch;
}

// Takes the results of the oldest step in flight. A request that ends with it may stand in the step behind,
// which then computes a row for nobody. Its blocks can be given back all the same: that row writes K and V to
// a place that only this request had, behind all that the prefix cache knows; whoever gets the block next
// writes to it in a later step, so after that.
void Engine::collect(Parts& parts, Batch& batch) {
  parts.ranks.collect();
  parts.ranks.store().check_nothing_lost();
  if (parts.in_flight == &batch) parts.in_flight = nullptr;
  for (const Scheduled& part : batch.scheduled)
    if (part.request != nullptr) parts.scheduler.mark_computed(part);
  for (RequestEvent& event : take_results(batch, spec_.debug)) {
    const uint64_t id = event.id;
    const bool finished = event.finish != FinishReason::kNone;
    parts.stats.generated_tokens += event.sample.token >= 0;
    if (finished) remove(parts, *open_.at(id));
    events_.push_back(std::move(event));
    if (finished) open_.erase(id);
  }
  ++parts.stats.steps;
  parts.stats.computed_tokens += batch.step.tokens.size();
  parts.stats.max_batch = std::max<uint64_t>(parts.stats.max_batch, batch.scheduled.size());
}

// Collects what is in flight: then all requests are as the devices have left them, and nothing is going on.
void Engine::settle(Parts& parts) {
  if (parts.in_flight != nullptr) collect(parts, *parts.in_flight);
}

void Engine::remove(Parts& parts, Request& request) {
  parts.scheduler.remove(&request);
  if (parts.in_flight == nullptr) return;
  for (Scheduled& part : parts.in_flight->scheduled)
    if (part.request == &request) part.request = nullptr;
}

void Engine::publish(EngineEvent::Kind kind, const std::string& code, const std::string& message) {
  if (events_.empty() && kind == EngineEvent::Kind::kStep) return;
  auto event = std::make_unique<EngineEvent>(
      EngineEvent{.kind = kind, .weight_version = weight_version_, .code = code, .message = message});
  event->requests.swap(events_);  // nothing can fail from here on
  listener_(std::move(event));
}

void Engine::update_stats(Parts& parts) {
  // May wait for the devices: before the lock.
  auto kernels = spec_.profile ? parts.ranks.profile() : std::vector<KernelProfile>();
  const auto now = std::chrono::steady_clock::now();
  parts.stats.busy_seconds += std::chrono::duration<double>(now - parts.busy_since).count();
  parts.busy_since = now;
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
  stats_.kernels = std::move(kernels);
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
