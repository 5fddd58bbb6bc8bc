// The CPU backend's class: the verbs of ops.h over a table of
// kernels and a pool of threads. Internal to ops/cpu.
//
// A verb checks its shapes, cuts the work into items that no result depends on, and lets the pool run them;
// the inner loops are kernels (kernels/table.h). Verbs allocate nothing once the step sizes have been seen.
// One file per family.
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"
#include "ops/cpu/kernels/table.h"
#include "ops/cpu/sampler.h"
#include "ops/cpu/thread_pool.h"
#include "ops/ops.h"

namespace lockstep {

inline void check_shapes(bool fits, const char* verb, const char* shapes) {
  if (!fits) throw Error("ENGINE_FAILED", std::string(verb) + ": the shapes do not fit " + shapes);
}

class CpuOps final : public Ops {
 public:
  CpuOps(const KernelTable& kernels, int threads);

  const char* compute_path() const noexcept override { return kernels_.name; }
  std::unique_ptr<Buffer> allocate(size_t bytes) override;
  size_t free_bytes() override { return 0; }
  size_t held_bytes() const noexcept override { return held_bytes_; }
  void reserve(const StepLimits&) override {}  // vectors grow with the first steps
  void release() override {}
  Matrix<const BFloat16> place(Matrix<const BFloat16> host) override { return host; }
  Matrix<const BFloat16> replace(Matrix<const BFloat16>, Matrix<const BFloat16> host) override {
    return host;
  }
  void fetch(Matrix<BFloat16> host, Matrix<const BFloat16> placed) override {
    for (int64_t i = 0; i < host.rows; ++i) std::copy_n(placed.row(i), host.cols, host.row(i));
  }
  void upload(void* device, const void* host, size_t bytes) override { std::memcpy(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { std::memcpy(host, device, bytes); }
  void wait() override {}
  void begin_step(const StepArrays&) override {}
  void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) override;
  void gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) override;
  void read_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) override;
  void rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                float eps) override;
  void add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                std::span<const BFloat16> weight, float eps) override;
  void rope_table(Matrix<float> table, std::span<const int32_t> positions, std::span<const float> inv_freq,
                  float scale) override;
  void project_qkv(const QkvProjection& p) override;
  void attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                 std::span<const SequenceSlice> sequences) override;
  void gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
               Matrix<const BFloat16> w_up) override;
  void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) override;
  void add(Matrix<float> y, Matrix<const float> x) override;
  void sample(std::span<SampleResult> results, Matrix<float> logits,
              std::span<const SampleRow> rows) override;

 private:
  struct WorkerScratch {
    alignas(64) float linear[2][kLinearTokens * kLinearRows];  // outputs before rounding: 16 KB
    AttentionScratch attention;
  };

  // Tokens of one sequence that share a work item of `attention`.
  struct AttentionTile {
    const SequenceSlice* sequence;
    int32_t first;  // token within the sequence's tokens of this step
    int32_t tokens;
  };

  template <class Body>
  void for_each_panel(int64_t tokens, int64_t rows, int64_t k, const Body& body);
  void copy_rows(const char* verb, Matrix<BFloat16> y, Matrix<const BFloat16> x,
                 std::span<const int32_t> rows);
  void find_slots(int64_t tokens, const KvLayer& cache, std::span<const SequenceSlice> sequences);
  void finish_heads(const QkvProjection& p, int64_t token);
  void attend(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache, const AttentionTile& tile,
              int32_t kv_head, AttentionScratch* scratch);

  const KernelTable& kernels_;
  ThreadPool pool_;
  std::unique_ptr<WorkerScratch[]> scratch_;  // [threads]
  std::vector<int64_t> slots_;  // [T]: block * kBlockTokens + slot of each token of the step, or -1
  std::vector<AttentionTile> tiles_;
  Sampler sampler_;
  size_t held_bytes_ = 0;  // of the buffers that are out
};

// The kernels of a path, as make_cpu_ops chooses them.
const KernelTable& find_kernels(const std::string& path);

// Throws unless every sequence's rows lie within the step's T tokens.
void check_sequences(int64_t tokens, std::span<const SequenceSlice> sequences, const char* verb);

}  // namespace lockstep
