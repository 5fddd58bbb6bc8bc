// Collectives over host memory, for two workers in one process: each reads the other's buffer where it lies.
#pragma once
#include <array>
#include <atomic>
#include <memory>

#include "comm/comm.h"

namespace lockstep {

class HostGroup final : public CommGroup {
 public:
  static constexpr int kWorkers = 2;  // the contract's R_max

  std::unique_ptr<Comm> comm(int worker, Ops& ops) override;

 private:
  friend class HostComm;

  // Waits until every worker is here; throws once one has abandoned. Orders memory between them.
  void barrier();

  std::array<Matrix<float>, kWorkers> sums_;  // what each brought, valid between two barriers
  std::array<Matrix<const float>, kWorkers> parts_;
  std::atomic<uint32_t> arrived_ = 0;
  std::atomic<uint32_t> round_ = 0;
  std::atomic<bool> abandoned_ = false;
};

}  // namespace lockstep
