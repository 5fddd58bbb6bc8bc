// The verbs: shapes are checked, views become device pointers, a launcher is called. One short function each.
#include <cmath>
#include <cstring>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

void check_shapes(bool fits, const char* verb, const char* shapes) {
  if (!fits) throw Error("ENGINE_FAILED", std::string(verb) + ": the shapes do not fit " + shapes);
}

// Device memory comes from allocate() and place(): elements lie at even addresses.
Matrix<uint16_t> raw(Matrix<BFloat16> m) {
  return {static_cast<uint16_t*>(static_cast<void*>(m.data)), m.rows, m.cols, m.stride};
}
Matrix<const uint16_t> raw(Matrix<const BFloat16> m) {
  return {static_cast<const uint16_t*>(static_cast<const void*>(m.data)), m.rows, m.cols, m.stride};
}
const uint16_t* raw(std::span<const BFloat16> v) {
  return raw(Matrix<const BFloat16>{v.data(), 1, std::ssize(v)}).data;
}

Cache raw(const KvLayer& c) {
  const auto rows = [](BFloat16* data) { return raw(Matrix<BFloat16>{data, 1, 1}).data; };
  return {rows(c.k), rows(c.v), c.kv_heads, c.head_dim};
}

bool starts_aligned(Matrix<const uint16_t> m) {
  return reinterpret_cast<uintptr_t>(m.data) % 16 == 0 && m.stride % 8 == 0;
}

LinearCall::Rows rows_of(Matrix<const BFloat16> w, void* y, int64_t y_stride) {
  return {raw(w).data, w.stride, w.rows, y, y_stride};
}

LinearCall call_of(Matrix<const BFloat16> x, int parts,
                   std::initializer_list<Matrix<const BFloat16>> weights) {
  LinearCall call;
  call.x = raw(x).data;
  call.x_stride = x.stride;
  call.tokens = x.rows;
  call.k = x.cols;
  call.parts = parts;
  bool aligned = starts_aligned(raw(x)) && (parts == 1 || x.cols / parts % 8 == 0);
  for (const auto& w : weights) aligned = aligned && starts_aligned(raw(w));
  call.aligned = aligned ? 1 : 0;
  return call;
}

}  // namespace

void CudaOps::copy_rows_of(const char* verb, Matrix<BFloat16> y, Matrix<const BFloat16> x,
                           std::span<const int32_t> rows, std::span<const int32_t> step_array,
                           const int32_t* device_array, int32_t unsampled_rows) {
  check_shapes(y.rows == std::ssize(rows) && y.cols == x.cols, verb, "y [rows, D], x [.., D]");
  const ptrdiff_t at = rows.data() - step_array.data();
  check_shapes(rows.empty() || (at >= 0 && at + std::ssize(rows) <= std::ssize(step_array)), verb,
               "the rows that begin_step was given");
  for (const int32_t row : rows)
    check_shapes(row < 0 ? row_of_unsampled(row) < unsampled_rows : row < x.rows, verb,
                 "a row number: it is out of range");
  copy_rows(raw(y), raw(x), device_array + at, reinterpret_cast<const int32_t*>(sampled_device_.data()),
            stream_);
}

void CudaOps::embed(Matrix<BFloat16> y, Matrix<const BFloat16> table, std::span<const int32_t> ids) {
  copy_rows_of("embed", y, table, ids, step_.host.tokens, step_.tokens, step_.sampled_before);
}

void CudaOps::gather_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) {
  copy_rows_of("gather_rows", y, x, rows, step_.host.head_rows, step_.head_rows, 0);
}

// Through pinned memory, a copy for each run of neighbours.
void CudaOps::read_rows(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const int32_t> rows) {
  check_shapes(y.rows == std::ssize(rows) && y.cols == x.cols, "read_rows", "y [rows, D], x [T, D]");
  use_device();
  std::byte* const pinned = rows_host_.at_least(bf16_bytes(y.rows * y.cols));
  for (int64_t begin = 0, end = 0; begin < y.rows; begin = end) {
    for (end = begin + 1; end < y.rows && rows[end] == rows[end - 1] + 1;) ++end;
    const int64_t first = rows[begin], count = end - begin;
    check_shapes(first >= 0 && first + count <= x.rows, "read_rows", "a row number: it is out of range");
    check(cudaMemcpy2DAsync(pinned + bf16_bytes(begin * y.cols), bf16_bytes(y.cols), x.row(first),
                            bf16_bytes(x.stride), bf16_bytes(x.cols), static_cast<size_t>(count),
                            cudaMemcpyDeviceToHost, stream_.get()),
          "reading rows");
  }
  synchronize();
  for (int64_t i = 0; i < y.rows; ++i)
    std::memcpy(y.row(i), pinned + bf16_bytes(i * y.cols), bf16_bytes(y.cols));
}

void CudaOps::rms_norm(Matrix<BFloat16> y, Matrix<const BFloat16> x, std::span<const BFloat16> weight,
                       float eps) {
  check_shapes(y.rows == x.rows && y.cols == x.cols && std::ssize(weight) == x.cols, "rms_norm",
               "y, x [T, D], weight [D]");
  // Without a sum x is only read.
  cuda::rms_norm(raw(y), {const_cast<uint16_t*>(raw(x).data), x.rows, x.cols, x.stride}, {}, raw(weight), eps,
                 stream_);
}

void CudaOps::add_norm(Matrix<BFloat16> residual, Matrix<BFloat16> y, Matrix<const float> sum,
                       std::span<const BFloat16> weight, float eps) {
  check_shapes(residual.rows == sum.rows && residual.cols == sum.cols && y.rows == sum.rows &&
                   y.cols == sum.cols && std::ssize(weight) == sum.cols,
               "add_norm", "residual, y, sum [T, D], weight [D]");
  cuda::rms_norm(raw(y), raw(residual), sum, raw(weight), eps, stream_);
}

void CudaOps::rope_table(Matrix<float> table, std::span<const int32_t> positions,
                         std::span<const float> inv_freq, float scale) {
  check_shapes(table.rows == std::ssize(positions) && table.cols == 2 * std::ssize(inv_freq), "rope_table",
               "table [T, d], positions [T], inv_freq [d / 2]");
  check_shapes(positions.data() == step_.host.positions.data(), "rope_table", "the positions of begin_step");
  if (!std::equal(inv_freq.begin(), inv_freq.end(), inv_freq_.begin(), inv_freq_.end())) {  // once an engine
    inv_freq_.assign(inv_freq.begin(), inv_freq.end());
    upload(inv_freq_device_.at_least(inv_freq.size_bytes()), inv_freq_.data(), inv_freq.size_bytes());
  }
  cuda::rope_table(table, step_.positions, reinterpret_cast<const float*>(inv_freq_device_.data()), scale,
                   stream_);
}

void CudaOps::check_sequences(const char* verb, int64_t tokens, const KvLayer& cache,
                              std::span<const SequenceSlice> sequences) const {
  check_shapes(
      sequences.data() == step_.host.sequences.data() && sequences.size() == step_.host.sequences.size(),
      verb, "the sequences of begin_step");
  for (const SequenceSlice& s : sequences)
    check_shapes(int64_t{s.first_row} + s.num_tokens <= tokens, verb, "the sequences' rows within [0, T)");
  check_shapes(step_.largest_block < cache.num_blocks, verb, "a block number within the cache");
}

void CudaOps::project_qkv(const QkvProjection& p) {
  const int64_t tokens = p.x.rows, d = p.cache.head_dim, kv = p.wk.rows;
  check_shapes(p.wq.cols == p.x.cols && p.wk.cols == p.x.cols && p.wv.cols == p.x.cols && p.wv.rows == kv &&
                   p.q.rows == tokens && p.q.cols == p.wq.rows && p.scratch.rows == tokens &&
                   p.scratch.cols == 2 * kv,
               "project_qkv", "q [T, Hq d], scratch [T, 2 Hkv d], x [T, D], wq [Hq d, D], wk, wv [Hkv d, D]");
  check_shapes(d > 0 && d % 2 == 0 && d <= 512 && kv == p.cache.kv_heads * d && p.wq.rows % d == 0 &&
                   std::ssize(p.q_norm) == d && std::ssize(p.k_norm) == d && p.rope.rows == tokens &&
                   p.rope.cols == d,
               "project_qkv", "an even head_dim d of at most 512, q_norm, k_norm [d], rope [T, d]");
  check_sequences("project_qkv", tokens, p.cache, p.sequences);
  check_shapes(step_.slot_count >= tokens, "project_qkv", "a step of T tokens");
  LinearCall call = call_of(p.x, 1, {p.wq, p.wk, p.wv});
  call.rows[0] = rows_of(p.wq, p.q.data, p.q.stride);
  call.rows[1] = rows_of(p.wk, p.scratch.data, p.scratch.stride);
  call.rows[2] = rows_of(p.wv, p.scratch.data + kv, p.scratch.stride);
  linear_rounded(call, stream_);
  finish_heads({.q = raw(p.q),
                .kv = raw(p.scratch),
                .cache = raw(p.cache),
                .q_norm = raw(p.q_norm),
                .k_norm = raw(p.k_norm),
                .rope = p.rope,
                .slots = step_.slots,
                .query_heads = static_cast<int32_t>(p.wq.rows / d),
                .eps = p.eps},
               stream_);
}

void CudaOps::attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                        std::span<const SequenceSlice> sequences) {
  const int64_t d = cache.head_dim, width = d * cache.kv_heads;
  check_shapes(y.rows == q.rows && y.cols == q.cols && width > 0 && q.cols % width == 0, "attention",
               "y, q [T, Hq d], Hq a multiple of Hkv");
  check_shapes(d % 2 == 0 && d <= 512, "attention", "an even head_dim of at most 512");
  check_sequences("attention", q.rows, cache, sequences);
  const int32_t group = static_cast<int32_t>(q.cols / width);
  build_tiles(group, cache.head_dim);
  AttentionCall call;
  call.y = raw(y);
  call.q = raw(q);
  call.cache = raw(cache);
  call.blocks = step_.blocks;
  call.max_splits = step_.max_splits;
  call.group = group;
  call.scale = 1.0f / std::sqrt(static_cast<float>(d));
  call.aligned = starts_aligned(call.q) ? 1 : 0;
  const auto* const tiles = reinterpret_cast<const AttentionTile*>(tiles_device_.data());
  if (step_.wide_tiles > 0) {
    call.tiles = tiles + step_.narrow_tiles;
    call.tile_count = step_.wide_tiles;
    call.workspace = nullptr;
    cuda::attention(call, true, step_.wide_keys, stream_);
  }
  if (step_.narrow_tiles == 0) return;
  call.tiles = tiles;
  call.tile_count = step_.narrow_tiles;
  call.workspace = nullptr;
  // Too few tiles to fill the device: splits get blocks of their own. No bit depends on it.
  const int64_t chunks = (group + kNarrowRows - 1) / kNarrowRows;
  const int64_t blocks = step_.narrow_tiles * chunks * cache.kv_heads;
  if (call.max_splits > 1 && blocks < 4 * stream_.multiprocessors() &&
      blocks * call.max_splits <= most_partials())
    call.workspace = reinterpret_cast<float*>(workspace_.at_least(
        static_cast<size_t>(attention_workspace(blocks * call.max_splits, cache.head_dim)) * sizeof(float)));
  cuda::attention(call, false, step_.narrow_keys, stream_);
}

void CudaOps::gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
                      Matrix<const BFloat16> w_up) {
  check_shapes(y.rows == x.rows && y.cols == w_gate.rows && w_up.rows == w_gate.rows &&
                   w_gate.cols == x.cols && w_up.cols == x.cols,
               "gate_up", "y [T, F], x [T, D], w_gate, w_up [F, D]");
  LinearCall call = call_of(x, 1, {w_gate, w_up});
  call.rows[0] = rows_of(w_gate, y.data, y.stride);
  call.rows[1] = rows_of(w_up, y.data, y.stride);
  linear_gate_up(call, stream_);
}

void CudaOps::linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) {
  check_shapes(y.rows == x.rows && y.cols == w.rows && w.cols == x.cols, "linear",
               "y [T, N], x [T, K], w [N, K]");
  check_shapes((parts == 1 || parts == 2) && x.cols % parts == 0, "linear", "K in 1 or 2 equal parts");
  LinearCall call = call_of(x, parts, {w});
  call.rows[0] = rows_of(w, y.data, y.stride);
  call.words = reinterpret_cast<uint32_t*>(linear_words_->data());
  cuda::linear(call, stream_);
}

void CudaOps::add(Matrix<float> y, Matrix<const float> x) {
  check_shapes(y.rows == x.rows && y.cols == x.cols, "add", "y, x [T, D]");
  add_rows(y, x, stream_);
}

void CudaOps::sample(std::span<SampleResult> results, Matrix<float> logits, std::span<const SampleRow> rows) {
  check_shapes(logits.rows == std::ssize(rows) && results.size() == rows.size() && logits.cols > 0, "sample",
               "results [rows], logits [rows, V]");
  use_device();
  const int32_t first = step_.sampled, count = static_cast<int32_t>(rows.size());
  auto* const sampled = reinterpret_cast<int32_t*>(
      sampled_device_.at_least(static_cast<size_t>(first + count) * sizeof(int32_t)));
  OpenStep& mine = steps_[turn_];
  sampler_.sample(mine.samples, results, logits, rows, sampled + first, stream_);
  step_.sampled += count;
  mine.done.record(stream_.get());
  mine.open = true;
}

}  // namespace lockstep::cuda
