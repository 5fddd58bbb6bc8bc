// The CUDA backend's class: the verbs of ops.h over the launchers of kernels.h, ordered on one stream.
// Internal to ops/cuda. Rank thread only.
//
// A verb checks its shapes and launches; nothing waits but collect() and the copies. Host arrays of a step
// cross once, in begin_step(); a verb that is handed others is a broken invariant.
//
// Two steps may be open: the host fills pinned memory for one while the device may still read what it was
// given for the other, and the results of both. On the device a step needs no memory of its own: the stream
// puts its copies behind the kernels of the step before.
#pragma once
#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "ops/cuda/kernels.h"
#include "ops/cuda/memory.h"
#include "ops/cuda/profiler.h"
#include "ops/cuda/sampler.h"
#include "ops/cuda/stream.h"
#include "ops/cuda/uploader.h"
#include "ops/ops.h"

namespace lockstep::cuda {

class CudaOps final : public Ops {
 public:
  // `path`: what compute_path() says. Throws Error where the device cannot be used.
  CudaOps(int device, std::string path, bool profile);
  ~CudaOps() override;

  Stream& stream() { return stream_; }  // what the verbs are ordered on

  const char* compute_path() const noexcept override { return path_.c_str(); }
  std::unique_ptr<Buffer> allocate(size_t bytes) override;
  size_t free_bytes() override;
  size_t held_bytes() const noexcept override;
  void reserve(const StepLimits& limits) override;
  void release() override;
  Matrix<const BFloat16> place(Matrix<const BFloat16> host) override;
  Matrix<const BFloat16> replace(Matrix<const BFloat16> placed, Matrix<const BFloat16> host) override;
  void fetch(Matrix<BFloat16> host, Matrix<const BFloat16> placed) override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void wait() override;
  std::vector<KernelProfile> profile() override;
  void begin_step(const StepArrays& step) override;
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
  bool runs_ahead() const noexcept override { return stream_.may_run_ahead(); }
  void collect() override;

 private:
  // The host's side of a step, in pinned memory.
  struct OpenStep {
    Growing arrays{true}, tiles{true};
    OpenSamples samples;
    Event done;
    bool open = false;  // the device may not have done with it
  };

  // The step's arrays on the device, in one allocation.
  struct DeviceStep {
    StepArrays host;
    const int32_t *tokens, *positions, *head_rows, *blocks;
    const int64_t* slots;  // [slot_count]: block * kBlockTokens + key, or -1
    int64_t slot_count = 0;
    std::vector<int32_t> block_offsets;  // of each sequence, in `blocks`
    int32_t largest_block = -1;
    // Tiles of attention follow from the heads' ratio, too.
    int32_t tile_group = 0, max_splits = 0;    // splits of narrow tiles
    int32_t narrow_tiles = 0, wide_tiles = 0;  // in this order
    double narrow_keys = 0, wide_keys = 0;
    int32_t sampled = 0, sampled_before = 0;  // rows given to sample(); of the step before
  };

  void finish(OpenStep& step);
  void build_tiles(int32_t group, int32_t head_dim);
  // Partial results of attention (a tile, head and split each) that there is room for: 8 KB each at d = 128,
  // so 70 MB on 132 multiprocessors.
  int64_t most_partials() const { return int64_t{64} * stream_.multiprocessors(); }
  void copy_rows_of(const char* verb, Matrix<BFloat16> y, Matrix<const BFloat16> x,
                    std::span<const int32_t> rows, std::span<const int32_t> step_array,
                    const int32_t* device_array, int32_t unsampled_rows);
  void check_sequences(const char* verb, int64_t tokens, const KvLayer& cache,
                       std::span<const SequenceSlice> sequences) const;
  void use_device() const;  // a thread's choice of device: first in whatever may be a thread's first call
  void synchronize();

  const int device_;
  const std::string path_;
  std::optional<Profiler> profiler_;  // of stream_
  Stream stream_;
  size_t held_bytes_ = 0;  // of the buffers that are out
  std::map<std::tuple<const void*, int64_t, int64_t, int64_t>, std::pair<std::unique_ptr<Buffer>, int64_t>>
      placed_;
  std::unique_ptr<Buffer> linear_words_;  // LinearCall::words
  std::optional<Uploader> uploader_;      // from the first weights until wait()
  OpenStep steps_[2];                     // in turn
  int turn_ = 0;                          // which is the present one
  Growing step_device_{false}, tiles_device_{false}, sampled_device_{false};
  Growing workspace_{false}, inv_freq_device_{false};
  Growing rows_host_{true};      // of read_rows()
  std::vector<float> inv_freq_;  // what inv_freq_device_ holds
  std::vector<int64_t> slots_;
  std::vector<int32_t> blocks_;
  std::vector<AttentionTile> tiles_;
  DeviceStep step_;
  Sampler sampler_;
};

}  // namespace lockstep::cuda
