// Model check of scheduler, block pool and prefix cache (RELIABILITY R6): random requests on a fake backend,
// whose K and V are hashes of all tokens so far, against a naive twin. No Node-API, no threads, no clock: the
// tests also build it by itself, with faults planted into the sources it checks.
#pragma once
#include <cstdint>
#include <string>

namespace lockstep::testing {

struct CheckReport {
  std::string violation;  // of the first broken invariant; empty = none
  uint64_t ahead = 0;     // steps launched before the one before was collected
  uint64_t steps = 0, requests = 0, finished = 0, aborted = 0;
  uint64_t preemptions = 0, most_preempted = 0;  // in all; of one request
  uint64_t hit_blocks = 0, evictions = 0;
  uint64_t held = 0;               // steps of nothing, because all requests were new and held
  uint64_t preempted_at_once = 0;  // of `preemptions`, those of preempt_all()
  uint64_t flushed = 0;            // cached blocks, by drop_cached()
  uint64_t exact_hits = 0;         // admissions whose hits the twin could predict to the block
};

// One world (pool, limits, prompts) drawn from `seed`: `steps` steps among random submissions, aborts and controls,
// then on until every request has ended.
CheckReport check_scheduler(uint64_t seed, int steps);

}  // namespace lockstep::testing
