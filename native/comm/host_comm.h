// Collectives over host memory, for two ranks in one process: each reads the other's buffer where it lies.
#pragma once
#include <array>
#include <atomic>
#include <memory>

#include "comm/comm.h"

namespace lockstep {

// What the ranks share. Made once, before their threads start; outlives all their Comms.
class HostGroup {
 public:
  static constexpr int kRanks = 2;  // the contract's R_max

  // The Comm of one rank. The group must outlive it.
  std::unique_ptr<Comm> comm(int rank);

 private:
  friend class HostComm;

  // Waits until every rank is here; throws once a rank has abandoned. Orders memory between the ranks.
  void barrier();

  std::array<Matrix<float>, kRanks> sums_;  // what each rank brought, valid between two barriers
  std::array<Matrix<const float>, kRanks> parts_;
  std::atomic<uint32_t> arrived_ = 0;
  std::atomic<uint32_t> round_ = 0;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace lockstep
