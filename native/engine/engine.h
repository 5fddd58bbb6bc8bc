// The engine thread: admit → schedule → build step → forward → sample → publish, until closed. Where devices
// run ahead, a step is launched before the results of the one before it are collected, so that they never
// wait for this thread (docs/decisions/0012-steps-ahead.md).
//
// Owns all engine state; nobody else touches it. The outside talks to it through the mailbox (any thread) and
// hears from it through the listener (called on the engine thread, once per step at most; must neither block
// nor throw). stats() is the one thing read from outside, under a mutex.
//
// Lifetime: loading → running → (failed →) closed. A failed engine rejects every request with the cause until
// closed. Every request gets exactly one terminal event, out of memory or not: it stays in commands_ or open_
// until that event is in events_, and what cannot be said for want of memory is said later. Controls
// (engine/control.h) are answered while the engine runs; of those that are open at its end, kFailed and kClosed
// are the answer.
#pragma once
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/host_memory.h"
#include "base/mailbox.h"
#include "checkpoint/weights.h"
#include "comm/comm.h"
#include "engine/control.h"
#include "engine/request.h"
#include "ops/ops.h"

namespace lockstep {

struct Batch;
struct Scheduled;

// Where an engine's devices come from. make_ops: `path` is a compute path of the CPU or "cuda:0", ...;
// make_group: for workers on these devices (none: on the CPU).
struct Backend {
  std::unique_ptr<Ops> (*make_ops)(const std::string& path, int threads, bool profile) = nullptr;
  std::unique_ptr<CommGroup> (*make_group)(std::span<const int> devices, const CommLimits& limits) = nullptr;
};

struct EngineSpec {
  ModelConfig config;
  TensorTable tensors;
  bool copy_weights = false;  // else mapped files are used in place
  Backend backend;
  std::string compute_path;  // on the CPU; empty: the best this one has
  std::vector<int>
      devices;  // of each rank, CUDA's number; ranks of one device stand together. Empty: the CPU
  double memory_fraction = 0;  // of a device's free memory, for everything; where num_blocks is 0
  int threads = 1;
  int32_t num_blocks = 0;   // 0, on devices only: what memory_fraction leaves
  int32_t max_context = 0;  // tokens of a sequence
  int32_t max_batch_tokens = 0;
  int32_t max_sequences = 0;
  bool prefix_cache = true;
  int ranks = 1;         // divides config.max_ranks()
  bool profile = false;  // EngineStats::kernels
  bool debug = false;    // NON_FINITE_LOGITS names the layer
};

struct EngineStats {
  uint64_t steps = 0;
  uint64_t steps_ahead = 0;  // of them, launched before the results of the one before were there
  uint64_t generated_tokens = 0;
  uint64_t prompt_tokens = 0;    // that requests began with, cached or not, computed or not
  uint64_t computed_tokens = 0;  // tokens that went through the forward pass, recomputed ones each time
  uint64_t max_batch = 0;        // most sequences in one step
  uint64_t preemptions = 0;
  uint64_t aborts = 0;
  uint64_t waiting = 0, running = 0;
  uint64_t cached_tokens = 0;                               // of them, those found in the prefix cache
  uint64_t full_hits = 0, partial_hits = 0, evictions = 0;  // see Scheduler and BlockPool
  uint64_t free_blocks = 0, cached_blocks = 0, owned_blocks = 0;
  uint64_t device_bytes = 0;
  double busy_seconds = 0;                  // of the engine thread, waiting for requests left out
  std::vector<KernelProfile> kernels = {};  // of worker 0's device; where the engine was made to profile
};

struct EngineEvent {
  enum class Kind { kLoaded, kStep, kDone, kFailed, kClosed };
  Kind kind = Kind::kStep;
  std::vector<RequestEvent> requests = {};
  uint64_t weight_version = 0;          // of the weights that the step computed with
  std::string compute_path = {};        // with kLoaded
  int32_t num_blocks = 0;               // with kLoaded: of the KV cache
  uint64_t control = 0;                 // with kDone: whose answer this is
  HostMemory data = {};                 // with kDone, of kRead: the tensor, BF16
  std::string code = {}, message = {};  // with kFailed: the cause; with kDone: why it was not done
};

class Engine {
 public:
  using Listener = std::function<void(std::unique_ptr<EngineEvent>)>;

  // Starts the thread, which loads the weights and publishes kLoaded or kFailed. Throws std::system_error
  // where no thread can be had.
  Engine(EngineSpec spec, Listener listener);
  // Stops within a layer's time and joins; no event after that.
  ~Engine();

  // The caller has checked that the request can run: token ids of the vocabulary, prompt and max_tokens
  // within the pool, an id that no open request has. Throws Error("ENGINE_CLOSED") after close().
  void submit(std::unique_ptr<Request> request);
  // Ends a request before its own end, as kAbort, or as kStop where JavaScript has found a stop string.
  // Unknown ids are ignored: the request may have ended already.
  void end(uint64_t id, FinishReason reason);
  void control(Control control);
  // Of a control that has not begun: answered with the code "CANCELLED". Others are not touched.
  void cancel(uint64_t control_id);
  // Open requests end with ENGINE_CLOSED, kClosed is published, the thread ends.
  void close() noexcept;

  EngineStats stats() const;

  // What the KV cache holds: prompt and max_tokens of a request at most. 0 where loading is still to tell.
  int64_t capacity_tokens() const;

 private:
  struct Submit {
    std::unique_ptr<Request> request;
  };
  struct End {
    uint64_t id;
    FinishReason reason;
  };
  struct Cancel {
    uint64_t control_id;
  };
  using Command = std::variant<Submit, End, Control, Cancel>;
  struct Parts;  // engine_parts.h

  void run();
  void serve(Parts& parts);
  void handle_commands(Parts& parts, bool wait);
  void handle(Parts& parts, Submit& submit);
  void handle(Parts& parts, const End& end);
  void handle(Parts& parts, Control& control);
  void handle(Parts& parts, const Cancel& cancel);
  // engine_control.cpp:
  void carry_out_controls(Parts& parts);
  bool carry_out(Parts& parts, Control& control);
  void perform(Parts& parts, Control& control, EngineEvent& event);
  void abort_begun(Parts& parts);
  void update_weights(Parts& parts, Control& control);
  void answer(std::unique_ptr<EngineEvent> event);
  bool halted() const { return paused_ || asleep_; }
  void check_files(Parts& parts, bool after_idle);
  void step(Parts& parts);
  void launch(Parts& parts, std::span<const Scheduled> scheduled);
  void collect(Parts& parts, Batch& batch);
  void settle(Parts& parts);
  void remove(Parts& parts, Request& request);
  void publish(EngineEvent::Kind kind, const std::string& code = {}, const std::string& message = {});
  void reject_all(const char* code, const std::string& message);
  void reject_until_closed(const std::exception_ptr& cause) noexcept;
  void update_stats(Parts& parts);
  void forget_parts();

  const EngineSpec spec_;
  const Listener listener_;
  Mailbox<Command> mailbox_;
  std::atomic<bool> cancel_ = false;  // set by close(): the running step stops between two layers
  // Engine thread only:
  std::deque<Command> commands_;                                 // taken from the mailbox, not yet handled
  std::unordered_map<uint64_t, std::unique_ptr<Request>> open_;  // without a terminal event so far
  std::vector<RequestEvent> events_;                             // since the last publish()
  std::deque<Control> controls_;                                 // not answered yet
  bool paused_ = false, asleep_ = false, changing_weights_ = false;
  uint64_t weight_version_ = 0;

  mutable std::mutex stats_mutex_;
  EngineStats stats_;  // guarded by stats_mutex_
  std::thread thread_;
};

}  // namespace lockstep
