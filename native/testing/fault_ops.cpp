#include "testing/fault_ops.h"

#include <set>
#include <utility>
#include <vector>

#include "ops/delegate_ops.h"

namespace lockstep::testing {
namespace {

class WrongBlock final : public Delegate {
 public:
  using Delegate::Delegate;

  void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) override {
    ends_before_ = std::exchange(ends_, {});  // a new step begins
    inner_->embed(y, table, ids);
  }

  void attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                 std::span<const SequenceSlice> sequences) override {
    std::vector<SequenceSlice> slices(sequences.begin(), sequences.end());
    std::vector<std::vector<int32_t>> tables(slices.size());
    for (size_t i = 0; i < slices.size(); ++i) {
      SequenceSlice& s = slices[i];
      const int32_t end = s.start_position + s.num_tokens;
      ends_.insert({s.blocks[(end - 1) / kBlockTokens], end});
      const bool full_blocks = s.start_position > 0 && s.start_position % kBlockTokens == 0;
      if (!full_blocks || s.num_tokens == 1) continue;
      const int32_t last = s.start_position / kBlockTokens - 1;
      if (ends_before_.contains({s.blocks[last], s.start_position})) continue;  // it goes on with its own
      tables[i].assign(s.blocks, s.blocks + (end + kBlockTokens - 1) / kBlockTokens);
      tables[i][0] = last > 0 ? tables[i][last] : (tables[i][0] + 1) % cache.num_blocks;
      s.blocks = tables[i].data();
    }
    inner_->attention(y, q, cache, slices);
  }

 private:
  std::set<std::pair<int32_t, int32_t>> ends_, ends_before_;  // (last block, end) of the step's sequences
};

class DroppedToken final : public Delegate {
 public:
  using Delegate::Delegate;

  void project_qkv(const QkvProjection& p) override {
    constexpr int32_t kLongestPrompt = 40;
    std::vector<SequenceSlice> slices;
    for (const SequenceSlice& s : p.sequences) {
      slices.push_back(s);
      const int32_t end = s.start_position + s.num_tokens;
      if (s.num_tokens < 3 || end <= kLongestPrompt) continue;
      slices.back().num_tokens = s.num_tokens - 2;
      slices.push_back({.first_row = s.first_row + s.num_tokens - 1,
                        .num_tokens = 1,
                        .start_position = end - 1,
                        .blocks = s.blocks});
    }
    QkvProjection dropping = p;
    dropping.sequences = slices;
    inner_->project_qkv(dropping);
  }
};

class RankOrder final : public Delegate {
 public:
  using Delegate::Delegate;

  // The head, too, is one part with any number of ranks: it is changed everywhere alike.
  void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) override {
    inner_->linear(y, x, w, x.cols % 2 == 0 ? 2 : parts);
  }
};

}  // namespace

std::unique_ptr<Ops> make_fault_ops(const std::string& fault, const std::string& path,
                                    std::unique_ptr<Ops>& inner) {
  if (fault == "wrong-block") return std::make_unique<WrongBlock>(std::move(inner), path);
  if (fault == "dropped-token") return std::make_unique<DroppedToken>(std::move(inner), path);
  if (fault == "rank-order") return std::make_unique<RankOrder>(std::move(inner), path);
  return nullptr;
}

}  // namespace lockstep::testing
