// Everything is the CPU backend's, but for the one verb that a canary breaks. Same threads as the backend it
// wraps.
#include "testing/canary_ops.h"

#include <string_view>
#include <utility>

#include "backend/registry.h"
#include "base/error.h"
#include "ops/delegate_ops.h"
#include "testing/fault_ops.h"
#include "testing/late_ops.h"

namespace lockstep::testing {
namespace {

constexpr std::string_view kPrefix = "canary:";

// The violation: with more than one row, one sum over K becomes two halves and two halves become one sum.
// Each row alone is as right as before; only the order along K now depends on the company.
class KSplitOps final : public Delegate {
 public:
  using Delegate::Delegate;

  void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) override {
    const bool alone = x.rows == 1 || x.cols % 2 != 0;
    inner_->linear(y, x, w, alone ? parts : 3 - parts);
  }
};

}  // namespace

std::unique_ptr<Ops> make_canary_ops(const std::string& path, int threads, bool profile) {
  if (!path.starts_with(kPrefix)) return make_ops(path, threads, profile);
  const size_t slash = path.find('/');
  const std::string name =
      path.substr(kPrefix.size(), slash == std::string::npos ? slash : slash - kPrefix.size());
  auto inner = make_ops(slash == std::string::npos ? "" : path.substr(slash + 1), threads, profile);
  if (auto faulty = make_fault_ops(name, path, inner)) return faulty;
  if (auto late = make_late_ops(name, path, inner)) return late;
  if (name != "k-split")
    throw Error("NOT_SUPPORTED",
                "Expected canary k-split or a name of fault_ops.h or late_ops.h but received '" + name + "'");
  return std::make_unique<KSplitOps>(std::move(inner), path);
}

}  // namespace lockstep::testing
