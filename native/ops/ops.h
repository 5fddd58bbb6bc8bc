// The verbs of the forward pass: everything a model is made of, on one device. A backend (ops/cpu, ops/cuda)
// implements them all; the model above is written once. Called from one thread at a time, the
// rank's; a backend may use threads of its own inside a verb, but a verb is complete (CPU) or ordered (GPU
// stream) when it returns.
//
// Every verb keeps the lockstep contract: a row of its result depends on that row's inputs and on the length
// of the reduction, never on how many rows or threads there are. docs/numerics.md has the rounding table and
// the orders.
//
// Shapes use DESIGN's letters: T tokens in the step, D hidden, Hq/Hkv heads, d head_dim, F MLP width, V
// vocabulary. Destinations come first. Shapes are checked at the verb; a mismatch is a broken invariant and
// throws Error.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "ops/profile.h"
#include "ops/sampling.h"
#include "ops/tensor.h"

namespace lockstep {

// Memory of the device, zeroed, released with the object. On the CPU it is reserved address space, committed
// on first touch.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() noexcept = 0;
  virtual size_t size_bytes() const noexcept = 0;
};

// The arrays of a step, on the host. From begin_step() on, verbs that take one of them take these very spans
// (or parts of head_rows): a backend with memory of its own sends all to the device at once and knows them
// again by their address.
struct StepArrays {
  std::span<const int32_t> tokens;           // [T]; unsampled() ones only where the backend runs ahead
  std::span<const int32_t> positions;        // [T], absolute
  std::span<const SequenceSlice> sequences;  // [S]
  std::span<const int32_t> head_rows;        // rows of T whose logits are wanted
};

// The largest step that a model will run.
struct StepLimits {
  int32_t tokens = 0;      // T
  int32_t sequences = 0;   // S
  int32_t context = 0;     // tokens of a sequence
  int32_t logit_rows = 0;  // in one call of sample()
  int32_t vocabulary = 0;  // V
  int32_t head_dim = 0;    // d
};

struct QkvProjection {
  Matrix<BFloat16> q;             // out [T, Hq * d], normed and rotated
  KvLayer cache;                  // out: K (normed, rotated) and V of the T tokens, written to their slots
  Matrix<BFloat16> scratch;       // [T, 2 * Hkv * d]
  Matrix<const BFloat16> x;       // [T, D]
  Matrix<const BFloat16> wq;      // [Hq * d, D]
  Matrix<const BFloat16> wk, wv;  // [Hkv * d, D]
  std::span<const BFloat16> q_norm, k_norm;  // [d]
  float eps = 0;
  Matrix<const float> rope;  // [T, d]: d/2 cosines, then d/2 sines
  std::span<const SequenceSlice> sequences;
};

class Ops {
 public:
  virtual ~Ops() = default;

  // "avx512-bf16", "portable", ...: named in results, since bits are equal only within one path.
  virtual const char* compute_path() const noexcept = 0;

  virtual std::unique_ptr<Buffer> allocate(size_t bytes) = 0;

  // Bytes that allocate() could still give. Host memory is committed as it is touched: there it says nothing,
  // and is 0.
  virtual size_t free_bytes() = 0;

  // Bytes of the device's memory that are out in buffers of allocate(), or that this object holds itself.
  virtual size_t held_bytes() const noexcept = 0;

  // Allocates what steps of at most these sizes need besides their arguments, so that no verb allocates.
  virtual void reserve(const StepLimits& limits) = 0;
  // Gives the device's part of that back, until reserve() is called again.
  virtual void release() = 0;

  // Weights where the verbs can read them: the same memory on the CPU, else a copy on the device that lives
  // as long as this object, made once for each `host`. On return `host` has been read; wait() ends a series of
  // them. w [N, K]; a vector is a matrix of one row.
  virtual Matrix<const BFloat16> place(Matrix<const BFloat16> host) = 0;

  // The weights of place() become those of `host`, of the same shape: where they are now. On a device the copy is
  // written over, so whatever knows its address goes on to be right. As with place(), wait() ends a series of them.
  virtual Matrix<const BFloat16> replace(Matrix<const BFloat16> placed, Matrix<const BFloat16> host) = 0;

  // The values of placed weights, back to `host`, of the same shape.
  virtual void fetch(Matrix<BFloat16> host, Matrix<const BFloat16> placed) = 0;

  // Between host memory and memory of allocate(); complete on return. Not for the path of a step.
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;

  // Returns when everything that was asked for is done; throws what went wrong meanwhile.
  virtual void wait() = 0;

  // Of all calls so far, once they are complete; empty unless the backend was made to profile.
  virtual std::vector<KernelProfile> profile() { return {}; }

  // A step begins. The arrays must not change or move until the next step begins.
  virtual void begin_step(const StepArrays& step) = 0;

  // y[t] = table[ids[t]]. y [T, D], table [V, D], ids [T].
  virtual void embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) = 0;

  // y[i] = x[rows[i]]. y [rows, D], x [T, D].
  virtual void gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) = 0;

  // The same with y in host memory and any rows; complete on return.
  virtual void read_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) = 0;

  // y = bf16(bf16(x / sqrt(mean(x^2) + eps)) * weight). y, x [T, D]; weight [D].
  virtual void rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                        float eps) = 0;

  // residual = bf16(residual + bf16(sum)); y = rms_norm(residual). residual, y [T, D]; sum [T, D] float32.
  virtual void add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                        std::span<const BFloat16> weight, float eps) = 0;

  // table[t] = scale * cos(p * inv_freq), then scale * sin(p * inv_freq), with p = positions[t] and the angle
  // rounded to float32 as transformers does. table [T, d]; inv_freq [d / 2].
  virtual void rope_table(Matrix<float> table, std::span<const int32_t> positions,
                          std::span<const float> inv_freq, float scale) = 0;

  // q, k, v = x W^T; per head: norm, rotate (halves, as Hugging Face does), round; K and V to the cache.
  virtual void project_qkv(const QkvProjection& p) = 0;

  // Causal attention of the step's tokens over their sequences' cached keys, those of this step included.
  // y, q [T, Hq * d]. Splits of kAttentionSplit keys by absolute position, merged in ascending order.
  virtual void attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                         std::span<const SequenceSlice> sequences) = 0;

  // y = silu(x Wg^T) * (x Wu^T). y [T, F]; x [T, D]; w_gate, w_up [F, D].
  virtual void gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
                       Matrix<const BFloat16> w_up) = 0;

  // y = x W^T in float32, unrounded. y [T, N]; x [T, K]; w [N, K]. K is summed as `parts` equal parts, each
  // in its own fixed order, combined in a binary tree (parts is 1 or 2; a rank that holds one of two parts
  // passes 1).
  virtual void linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) = 0;

  // y += x. y, x [T, D] float32. The top of the tree of a row-parallel layer whose parts are on one device.
  virtual void add(Matrix<float> y, Matrix<const float> x) = 0;

  // Whether a step may begin before the results of the one before it are collected, with tokens that are
  // unsampled() ones of that step. At most two steps are open.
  virtual bool runs_ahead() const noexcept { return false; }

  // results[i] from logits row i, as rows[i] asks. logits [rows, V] are overwritten. All of a step's head rows
  // in their order, in one call or several. Where the backend has memory of its own the results come with
  // collect(), and must stay where they are until then.
  virtual void sample(std::span<SampleResult> results, Matrix<float> logits,
                      std::span<const SampleRow> rows) = 0;

  // Returns when the oldest open step is done and its results are there; throws what went wrong meanwhile.
  virtual void collect() {}
};

// Elements of K (and as many of V) in one block of one layer: what a KV pool allocates per block.
constexpr int64_t kv_block_elements(int32_t kv_heads, int32_t head_dim) {
  return int64_t{kBlockTokens} * kv_heads * head_dim;
}

constexpr int kAttentionSplit = 256;  // keys per attention split, a multiple of kBlockTokens

}  // namespace lockstep
