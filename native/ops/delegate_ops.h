// A backend that hands every verb on to another: what derives from it changes some of them.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "ops/ops.h"

namespace lockstep {

// Everything is the wrapped backend's, on its threads.
class Delegate : public Ops {
 public:
  Delegate(std::unique_ptr<Ops> inner, std::string path) : inner_(std::move(inner)), path_(std::move(path)) {}

  const char* compute_path() const noexcept override { return path_.c_str(); }
  std::unique_ptr<Buffer> allocate(size_t bytes) override { return inner_->allocate(bytes); }
  size_t free_bytes() override { return inner_->free_bytes(); }
  size_t held_bytes() const noexcept override { return inner_->held_bytes(); }
  void reserve(const StepLimits& limits) override { inner_->reserve(limits); }
  void release() override { inner_->release(); }
  Matrix<const BFloat16> place(Matrix<const BFloat16> host) override { return inner_->place(host); }
  Matrix<const BFloat16> replace(Matrix<const BFloat16> placed, Matrix<const BFloat16> host) override {
    return inner_->replace(placed, host);
  }
  void fetch(Matrix<BFloat16> host, Matrix<const BFloat16> placed) override { inner_->fetch(host, placed); }
  void upload(void* device, const void* host, size_t bytes) override { inner_->upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override {
    inner_->download(host, device, bytes);
  }
  void wait() override { inner_->wait(); }
  std::vector<KernelProfile> profile() override { return inner_->profile(); }
  void begin_step(const StepArrays& step) override { inner_->begin_step(step); }
  void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) override {
    inner_->embed(y, table, ids);
  }
  void gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) override {
    inner_->gather_rows(y, x, rows);
  }
  void read_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) override {
    inner_->read_rows(y, x, rows);
  }
  void rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                float eps) override {
    inner_->rms_norm(y, x, weight, eps);
  }
  void add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                std::span<const BFloat16> weight, float eps) override {
    inner_->add_norm(residual, y, sum, weight, eps);
  }
  void rope_table(Matrix<float> table, std::span<const int32_t> positions, std::span<const float> inv_freq,
                  float scale) override {
    inner_->rope_table(table, positions, inv_freq, scale);
  }
  void project_qkv(const QkvProjection& p) override { inner_->project_qkv(p); }
  void attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                 std::span<const SequenceSlice> sequences) override {
    inner_->attention(y, q, cache, sequences);
  }
  void gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
               Matrix<const BFloat16> w_up) override {
    inner_->gate_up(y, x, w_gate, w_up);
  }
  void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) override {
    inner_->linear(y, x, w, parts);
  }
  void add(Matrix<float> y, Matrix<const float> x) override { inner_->add(y, x); }
  void sample(std::span<SampleResult> results, Matrix<float> logits,
              std::span<const SampleRow> rows) override {
    inner_->sample(results, logits, rows);
  }
  bool runs_ahead() const noexcept override { return inner_->runs_ahead(); }
  void collect() override { inner_->collect(); }

 protected:
  std::unique_ptr<Ops> inner_;

 private:
  std::string path_;
};

}  // namespace lockstep
