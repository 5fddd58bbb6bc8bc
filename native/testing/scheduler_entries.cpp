// The scheduler's model check for JavaScript: many seeds in one call.
#include <algorithm>
#include <string>

#include "testing/scheduler_check.h"
#include "testing/testing.h"

namespace lockstep::testing {
namespace {

// checkScheduler(firstSeed: number, seeds: number, steps: number) → sums over the seeds, and `violation`: the
// first one with its seed, or "". Stops at it.
Napi::Value check(const Napi::CallbackInfo& info) {
  const int64_t first = info[0].As<Napi::Number>().Int64Value(),
                seeds = info[1].As<Napi::Number>().Int64Value();
  const int32_t steps = info[2].As<Napi::Number>().Int32Value();
  CheckReport sum;
  for (int64_t seed = first; seed < first + seeds && sum.violation.empty(); ++seed) {
    const CheckReport report = check_scheduler(static_cast<uint64_t>(seed), steps);
    if (!report.violation.empty())
      sum.violation =
          "seed " + std::to_string(seed) + ", step " + std::to_string(report.steps) + ": " + report.violation;
    sum.steps += report.steps;
    sum.ahead += report.ahead;
    sum.requests += report.requests;
    sum.finished += report.finished;
    sum.aborted += report.aborted;
    sum.preemptions += report.preemptions;
    sum.most_preempted = std::max(sum.most_preempted, report.most_preempted);
    sum.hit_blocks += report.hit_blocks;
    sum.evictions += report.evictions;
    sum.held += report.held;
    sum.preempted_at_once += report.preempted_at_once;
    sum.flushed += report.flushed;
    sum.exact_hits += report.exact_hits;
  }
  auto object = Napi::Object::New(info.Env());
  const auto set = [&](const char* key, uint64_t value) {
    object.Set(key, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  object.Set("violation", Napi::String::New(info.Env(), sum.violation));
  set("steps", sum.steps);
  set("ahead", sum.ahead);
  set("requests", sum.requests);
  set("finished", sum.finished);
  set("aborted", sum.aborted);
  set("preemptions", sum.preemptions);
  set("mostPreempted", sum.most_preempted);
  set("hitBlocks", sum.hit_blocks);
  set("evictions", sum.evictions);
  set("held", sum.held);
  set("preemptedAtOnce", sum.preempted_at_once);
  set("flushed", sum.flushed);
  set("exactHits", sum.exact_hits);
  return object;
}

}  // namespace

void register_scheduler(Napi::Env env, Napi::Object exports) {
  exports.Set("checkScheduler", Napi::Function::New(env, check, "checkScheduler"));
}

}  // namespace lockstep::testing
