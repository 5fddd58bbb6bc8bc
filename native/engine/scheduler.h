// Decides which requests a step computes and how many tokens of each. No tensors, no clock, no threads: a
// function of what was added, removed and computed before. Engine thread only.
//
//   add → waiting --admit (takes the blocks of all its tokens)--> running --remove (gives them back)--> gone
//            ^                                                      |
//            +------- preempt: blocks back, recompute later --------+
//
// Blocks that the prefix cache knows are shared instead of computed. A request is not admitted while a
// running one is computing a block that it could share a step later.
//
// First come, first served. Each step: a token for every running decode, then prefill chunks, then
// admissions, as far as max_batch_tokens goes. When a decode finds no free block, the newest running request
// is preempted. The oldest one therefore always gets on, and every request ends.
//
// A step that is launched may be followed by another before its results are there, where that is the step
// that would follow: schedule_ahead().
#pragma once
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "cache/block_pool.h"
#include "engine/request.h"

namespace lockstep {

struct SchedulerLimits {
  int32_t max_batch_tokens = 0;  // T of a step, at most
  int32_t max_sequences = 0;     // running requests, at most
};

struct Scheduled {
  Request* request;
  int32_t num_tokens;
  int32_t begin;  // tokens [begin, begin + num_tokens) are computed in this step
};

class Scheduler {
 public:
  Scheduler(BlockPool& pool, SchedulerLimits limits) : pool_(pool), limits_(limits) {}

  // The request must stay where it is until remove(), and fit into the pool by itself: prompt and max_tokens.
  void add(Request* request) { waiting_.push_back(request); }

  // A finished or aborted request, in whatever state; its blocks become free.
  void remove(Request* request);

  // The next step; valid until the next call. Empty only where nothing is waiting or running: a request that
  // runs alone always finds its blocks, and one that waits alone is admitted, unless new ones are held. No step
  // may be in flight.
  std::span<const Scheduled> schedule();

  // The step behind one that is in flight (at most one), whose sampled tokens become unsampled() ones. Empty
  // where that step's results must come first: somebody would be admitted, a block is missing, penalties need
  // its tokens, or nobody goes on.
  std::span<const Scheduled> schedule_ahead();

  // Whether requests that have never been admitted must wait.
  void hold_new(bool hold) { hold_new_ = hold; }
  // Whether no request has begun: been admitted, preempted since or not.
  bool drained() const { return running_.empty() && (waiting_.empty() || !begun(*waiting_.front())); }
  // K and V of all running requests are given up; they will be recomputed. No step may be in flight.
  void preempt_all();
  static bool begun(const Request& request) { return request.cached_tokens >= 0; }

  // The step is launched: what comes later finds its tokens in the cache.
  void mark_launched(const Scheduled& scheduled);
  // Its results are there, so its tokens are known: the blocks they filled can be shared.
  void mark_computed(const Scheduled& scheduled);

  size_t waiting_count() const { return waiting_.size(); }
  size_t running_count() const { return running_.size(); }
  uint64_t preemptions() const { return preemptions_; }
  // Of first admissions only, a recompute does not count:
  uint64_t cached_tokens() const { return cached_tokens_; }
  uint64_t full_hits() const { return full_hits_; }        // requests all of whose sharable blocks were known
  uint64_t partial_hits() const { return partial_hits_; }  // and those that found a beginning of them only

 private:
  void schedule_decodes();
  void schedule_prefills();
  void admit();
  std::optional<KnownPrefix> admissible() const;
  void start(Request* request, KnownPrefix known);
  bool being_computed(const Request& request, size_t known_blocks) const;
  void take(Request* request);
  bool grow(Request* request, int32_t tokens);
  void give_back(Request* request);
  void preempt_newest();

  BlockPool& pool_;
  const SchedulerLimits limits_;
  std::deque<Request*> waiting_;   // oldest first, so those that were preempted before new ones
  std::vector<Request*> running_;  // oldest first
  std::vector<Scheduled> scheduled_;
  bool hold_new_ = false;
  int32_t budget_ = 0;  // tokens the step under construction can still take
  uint64_t preemptions_ = 0;
  uint64_t cached_tokens_ = 0, full_hits_ = 0, partial_hits_ = 0;
};

}  // namespace lockstep
