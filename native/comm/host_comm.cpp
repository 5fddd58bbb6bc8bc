#include "comm/host_comm.h"

#include <algorithm>
#include <thread>

namespace lockstep {

// Barriers per call: two. The first says that all buffers are filled, the second that all are read.
class HostComm final : public Comm {
 public:
  HostComm(HostGroup& group, int worker) : group_(group), worker_(worker) {}

  // Each worker adds its half of the rows and writes them to both buffers. The tree of two is part 0 + part 1.
  void all_reduce(Matrix<float> sum) override {
    group_.sums_[worker_] = sum;
    group_.barrier();
    const Matrix<float>&first = group_.sums_[0], &second = group_.sums_[1];
    const int64_t begin = sum.rows * worker_ / HostGroup::kWorkers,
                  end = sum.rows * (worker_ + 1) / HostGroup::kWorkers;
    for (int64_t row = begin; row < end; ++row) {
      float *a = first.row(row), *b = second.row(row);
      for (int64_t i = 0; i < sum.cols; ++i) a[i] = b[i] = a[i] + b[i];
    }
    group_.barrier();
  }

  void gather_columns(Matrix<float> whole, Matrix<const float> part) override {
    group_.parts_[worker_] = part;
    group_.barrier();
    if (worker_ == 0) {
      int64_t column = 0;
      for (const Matrix<const float>& from : group_.parts_) {
        for (int64_t row = 0; row < from.rows; ++row)
          std::copy_n(from.row(row), from.cols, whole.row(row) + column);
        column += from.cols;
      }
    }
    group_.barrier();
  }

  void abandon() noexcept override {
    group_.abandoned_ = true;
    ++group_.round_;
    group_.round_.notify_all();
  }

 private:
  HostGroup& group_;
  const int worker_;
};

std::unique_ptr<Comm> HostGroup::comm(int worker, Ops&) { return std::make_unique<HostComm>(*this, worker); }

void HostGroup::barrier() {
  // A few tens of microseconds: after that the other worker is not on a core, or far behind.
  constexpr int kSpins = 4096;
  const uint32_t round = round_.load(std::memory_order_acquire);
  if (!abandoned_ && arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == kWorkers) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  } else {
    for (int spin = 0; spin < kSpins && round_.load(std::memory_order_acquire) == round && !abandoned_;
         ++spin)
      if (spin % 64 == 63) std::this_thread::yield();
    while (round_.load(std::memory_order_acquire) == round && !abandoned_) round_.wait(round);
  }
  if (abandoned_) throw PeerFailed();
}

}  // namespace lockstep
