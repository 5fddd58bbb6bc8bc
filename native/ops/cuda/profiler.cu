#include "ops/cuda/launch.h"
#include "ops/cuda/profiler.h"
#include "ops/cuda/ptx.h"

namespace lockstep::cuda {
namespace {

constexpr int kRestsPerLaunch = 100;  // some 4 to 8 us

// One thread that does nothing for a while. It ends by itself: a step of more launches than the stream takes would
// otherwise wait for ever.
__global__ void hold_kernel(int rests) {
  for (int i = 0; i < rests; ++i) rest();
}

}  // namespace

Profiler::~Profiler() {
  for (const cudaEvent_t event : unused_) cudaEventDestroy(event);
  for (const Timed& timed : timed_) {
    cudaEventDestroy(timed.begin);
    cudaEventDestroy(timed.end);
  }
}

cudaEvent_t Profiler::new_event() {
  cudaEvent_t event;
  if (unused_.empty()) {
    check(cudaEventCreate(&event), "making an event");
  } else {
    event = unused_.back();
    unused_.pop_back();
  }
  return event;
}

void Profiler::declare(const Launch& launch) {
  timed_.push_back({profiled_name(launch.name, launch.weight_rows, launch.weight_cols), launch.bytes,
                    launch.flops, new_event(), new_event()});
}

void Profiler::hold(cudaStream_t stream) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(1);
  config.stream = stream;
  const int rests = kRestsPerLaunch * static_cast<int>(timed_.size() - launched_);
  check(cudaLaunchKernelEx(&config, hold_kernel, rests), "hold");
}

void Profiler::begin(cudaStream_t stream) {
  check(cudaEventRecord(timed_[launched_].begin, stream), "profiling");
}

void Profiler::end(cudaStream_t stream) {
  check(cudaEventRecord(timed_[launched_].end, stream), "profiling");
  ++launched_;
}

const std::vector<KernelProfile>& Profiler::collect() {
  for (size_t i = 0; i < launched_; ++i) {
    const Timed& timed = timed_[i];
    float ms = 0;
    check(cudaEventElapsedTime(&ms, timed.begin, timed.end), "profiling");
    add_call(profile_, timed.name, static_cast<double>(ms) / 1e3, timed.bytes, timed.flops);
    unused_.insert(unused_.end(), {timed.begin, timed.end});
  }
  timed_.erase(timed_.begin(), timed_.begin() + static_cast<ptrdiff_t>(launched_));
  launched_ = 0;
  return profile_;
}

}  // namespace lockstep::cuda
