// The two ceilings of a device that speeds are held against, measured on the spot: `lockstep bench` puts them beside
// its figures. Plain data.
#pragma once
#include <cstddef>

namespace lockstep {

struct Floors {
  double read_bytes_per_second = 0;
  double copy_bytes_per_second = 0;  // read and written; 0: not measured
  double flops_per_second = 0;       // BF16; a multiply-add counts as 2
  size_t buffer_bytes = 0;           // that were read
};

}  // namespace lockstep
