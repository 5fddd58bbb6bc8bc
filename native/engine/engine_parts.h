// What engine.cpp and engine_control.cpp share: the parts that live on the engine thread only, from the load to
// the end (ranks, pool, scheduler, the step's arrays), and how an exception is told.
#pragma once
#include <chrono>
#include <exception>
#include <string>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/engine.h"
#include "engine/rank.h"
#include "engine/scheduler.h"

namespace lockstep {

struct Engine::Parts {
  explicit Parts(const EngineSpec& spec, const std::atomic<bool>& cancel)
      : ranks(spec, cancel),
        pool(ranks.num_blocks(), spec.prefix_cache),
        scheduler(pool, {spec.max_batch_tokens, spec.max_sequences}) {}

  RankGroup ranks;
  BlockPool pool;
  Scheduler scheduler;
  Batch batches[2];            // in turn
  Batch* in_flight = nullptr;  // launched last and not collected
  EngineStats stats;
  std::chrono::steady_clock::time_point busy_since = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point files_checked = std::chrono::steady_clock::now();
};

struct Failure {
  std::string code, message;
};

Failure describe(const std::exception_ptr& cause);

}  // namespace lockstep
