// Everything is computed at once, in the order in which it was asked for, as in a GPU's stream; only the way of
// tokens and results is a GPU's. Engine thread.
#include "testing/late_ops.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "ops/delegate_ops.h"

namespace lockstep::testing {
namespace {

class LateOps final : public Delegate {
 public:
  LateOps(std::unique_ptr<Ops> inner, std::string path, int32_t row_offset)
      : Delegate(std::move(inner), std::move(path)), row_offset_(row_offset) {}

  bool runs_ahead() const noexcept override { return true; }

  void begin_step(const StepArrays& step) override {
    if (open_.size() == 2) collect();  // nobody wanted its results
    sampled_before_ = std::exchange(sampled_, {});
    open_.emplace_back();
    inner_->begin_step(step);
  }

  void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) override {
    std::vector<int32_t> known(ids.begin(), ids.end());
    for (int32_t& id : known) {
      if (id >= 0) continue;
      const int32_t row = std::max(0, row_of_unsampled(id) - row_offset_);
      id = std::max(0, sampled_before_.at(static_cast<size_t>(row)));  // -1: it will be thrown away
    }
    inner_->embed(y, table, known);
  }

  void sample(std::span<SampleResult> results, Matrix<float> logits,
              std::span<const SampleRow> rows) override {
    Late& late = open_.back().emplace_back(results, std::vector<SampleResult>(results.size()));
    inner_->sample(late.second, logits, rows);
    for (const SampleResult& result : late.second) sampled_.push_back(result.token);
  }

  void collect() override {
    if (open_.empty()) return;
    for (auto& [to, from] : open_.front()) std::ranges::move(from, to.begin());
    open_.pop_front();
  }

 private:
  using Late = std::pair<std::span<SampleResult>, std::vector<SampleResult>>;

  const int32_t row_offset_;
  std::vector<int32_t> sampled_, sampled_before_;  // by head row: of the present step, of the one before
  std::deque<std::vector<Late>> open_;             // steps whose results are not collected, oldest first
};

}  // namespace

std::unique_ptr<Ops> make_late_ops(const std::string& name, const std::string& path,
                                   std::unique_ptr<Ops>& inner) {
  if (name != "late" && name != "late-row") return nullptr;
  return std::make_unique<LateOps>(std::move(inner), path, name == "late" ? 0 : 1);
}

}  // namespace lockstep::testing
