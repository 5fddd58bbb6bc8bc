// The verbs of the path of a step, each with a clock around it and the least it must move and compute: every operand
// once. The rank's thread, as the backend within; adds some 100 ns to a call and changes nothing.
#include "ops/profiled_ops.h"

#include <chrono>

#include "ops/delegate_ops.h"

namespace lockstep {
namespace {

template <class T>
double bytes_of(Matrix<T> m) {
  return static_cast<double>(m.rows) * static_cast<double>(m.cols) * sizeof(T);
}

template <class T>
double elements_of(Matrix<T> m) {
  return static_cast<double>(m.rows) * static_cast<double>(m.cols);
}

// Of x W^T.
double multiply_adds(Matrix<const BFloat16> x, Matrix<const BFloat16> w) {
  return static_cast<double>(x.rows) * elements_of(w);
}

class ProfiledOps final : public Delegate {
 public:
  using Delegate::Delegate;

  std::vector<KernelProfile> profile() override { return profile_; }

  void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) override {
    timed("embed", 2 * bytes_of(y), 0, [&] { inner_->embed(y, table, ids); });
  }
  void gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) override {
    timed("gather_rows", 2 * bytes_of(y), 0, [&] { inner_->gather_rows(y, x, rows); });
  }
  void rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                float eps) override {
    timed("rms_norm", 2 * bytes_of(y), 4 * elements_of(y), [&] { inner_->rms_norm(y, x, weight, eps); });
  }
  void add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                std::span<const BFloat16> weight, float eps) override {
    timed("add_norm", 3 * bytes_of(y) + bytes_of(sum), 5 * elements_of(y),
          [&] { inner_->add_norm(residual, y, sum, weight, eps); });
  }
  void rope_table(Matrix<float> table, std::span<const int32_t> positions, std::span<const float> inv_freq,
                  float scale) override {
    timed("rope_table", bytes_of(table), 60 * elements_of(table),
          [&] { inner_->rope_table(table, positions, inv_freq, scale); });
  }
  void project_qkv(const QkvProjection& p) override {
    const double weights = bytes_of(p.wq) + bytes_of(p.wk) + bytes_of(p.wv);
    const double flops = 2 * (multiply_adds(p.x, p.wq) + multiply_adds(p.x, p.wk) + multiply_adds(p.x, p.wv));
    timed(profiled_name("project_qkv", p.wq.rows + p.wk.rows + p.wv.rows, p.x.cols),
          weights + bytes_of(p.x) + bytes_of(p.q) + bytes_of(p.scratch), flops,
          [&] { inner_->project_qkv(p); });
  }
  void attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                 std::span<const SequenceSlice> sequences) override {
    double keys = 0, pairs = 0;  // read; a query with a key, of each head
    for (const SequenceSlice& s : sequences) {
      const double tokens = s.num_tokens, before = s.start_position;
      keys += tokens == 0 ? 0 : before + tokens;
      pairs += tokens * before + tokens * (tokens + 1) / 2;
    }
    const double key_bytes = 2.0 * sizeof(BFloat16) * cache.kv_heads * cache.head_dim;
    timed("attention", keys * key_bytes + 2 * bytes_of(y), 4 * pairs * static_cast<double>(q.cols),
          [&] { inner_->attention(y, q, cache, sequences); });
  }
  void gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
               Matrix<const BFloat16> w_up) override {
    timed(profiled_name("gate_up", 2 * w_gate.rows, x.cols), 2 * bytes_of(w_gate) + bytes_of(x) + bytes_of(y),
          4 * multiply_adds(x, w_gate), [&] { inner_->gate_up(y, x, w_gate, w_up); });
  }
  void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) override {
    timed(profiled_name("linear", w.rows, w.cols), bytes_of(w) + bytes_of(x) + bytes_of(y),
          2 * multiply_adds(x, w), [&] { inner_->linear(y, x, w, parts); });
  }
  void add(Matrix<float> y, Matrix<const float> x) override {
    timed("add", 3 * bytes_of(y), elements_of(y), [&] { inner_->add(y, x); });
  }
  void sample(std::span<SampleResult> results, Matrix<float> logits,
              std::span<const SampleRow> rows) override {
    timed("sample", bytes_of(logits), 0, [&] { inner_->sample(results, logits, rows); });
  }

 private:
  template <class Verb>
  void timed(const std::string& name, double bytes, double flops, Verb verb) {
    const auto start = std::chrono::steady_clock::now();
    verb();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    add_call(profile_, name, seconds.count(), bytes, flops);
  }

  std::vector<KernelProfile> profile_;
};

}  // namespace

std::unique_ptr<Ops> make_profiled_ops(std::unique_ptr<Ops> inner) {
  const std::string path = inner->compute_path();
  return std::make_unique<ProfiledOps>(std::move(inner), path);
}

}  // namespace lockstep
