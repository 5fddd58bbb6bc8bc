// What a profile is made of: sums over the calls of a kernel (CUDA) or of a verb (CPU). Plain data.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct KernelProfile {
  std::string name;  // with the weights' shape, where there are any: "linear 1024x3072"
  uint64_t calls = 0;
  double seconds = 0;
  // What the calls cannot do without: bytes between memory and processor, floating-point operations (a multiply-add
  // counts as 2).
  double bytes = 0, flops = 0;
};

// rows, cols: of the weights; 0 where there are none.
inline std::string profiled_name(const char* name, int64_t rows, int64_t cols) {
  if (rows == 0) return name;
  return std::string(name) + ' ' + std::to_string(rows) + 'x' + std::to_string(cols);
}

inline void add_call(std::vector<KernelProfile>& profile, const std::string& name, double seconds,
                     double bytes, double flops) {
  auto found = std::ranges::find(profile, name, &KernelProfile::name);
  if (found == profile.end()) found = profile.insert(found, {.name = name});
  ++found->calls;
  found->seconds += seconds;
  found->bytes += bytes;
  found->flops += flops;
}

}  // namespace lockstep
