// Times the kernels of a stream: an event before and one behind each launch, read when the device has got so far. Rank
// thread only. The stream launches a profiled step kernel by kernel, without graphs and overlap.
//
// The events' times are the device's own, so a kernel that waited for its launch would seem slow: a step is held until
// the host has launched much of it (hold()). A pair of events adds something like a microsecond to a kernel.
#pragma once
#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "ops/profile.h"

namespace lockstep::cuda {

struct Launch;

class Profiler {
 public:
  Profiler() = default;
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // What is launched after all that was declared before it.
  void declare(const Launch& launch);
  // Keeps the device busy for about as long as the host takes for what was declared.
  void hold(cudaStream_t stream);
  // Around the launch that comes next.
  void begin(cudaStream_t stream);
  void end(cudaStream_t stream);

  // All launches so far. Waits for nothing: the stream is synchronized.
  const std::vector<KernelProfile>& collect();

 private:
  struct Timed {
    std::string name;
    double bytes, flops;
    cudaEvent_t begin, end;
  };
  cudaEvent_t new_event();

  std::vector<Timed> timed_;  // declared and not collected; the first launched_ are on the stream
  size_t launched_ = 0;
  std::vector<cudaEvent_t> unused_;
  std::vector<KernelProfile> profile_;
};

}  // namespace lockstep::cuda
