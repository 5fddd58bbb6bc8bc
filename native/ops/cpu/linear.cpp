// Linear layers: the cut into panels of weight rows and blocks of tokens, and the verbs built on it. The
// arithmetic and its order are kernels/linear.h's. Barriers per layer: linear 1, gate_up 1, project_qkv 2 (a
// head needs all its rows).
#include <algorithm>
#include <array>

#include "ops/cpu/cpu_backend.h"

namespace lockstep {
namespace {

// A panel of weights stays in L2 while the blocks of tokens pass: 256 KB leave room for the tokens.
constexpr int64_t kPanelBytes = 256 << 10;
constexpr int64_t kRowMultiple = 8;

struct Plan {
  int64_t panel_rows;
  int64_t panels;
  int64_t group_tokens;  // tokens that one item takes through its panel, block by block
  int64_t groups;
};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Enough items for the threads to share evenly: first by fewer rows a panel, then by cutting the tokens, too.
Plan make_plan(int64_t tokens, int64_t rows, int64_t k, int threads) {
  const int64_t wanted = threads == 1 ? 1 : int64_t{4} * threads;
  int64_t panel_rows = std::min<int64_t>(kPanelBytes / (2 * std::max<int64_t>(k, 1)), kLinearRows);
  panel_rows = std::min(panel_rows, divide_up(rows, wanted));
  panel_rows = std::max(panel_rows / kRowMultiple * kRowMultiple, 2 * kRowMultiple);
  const int64_t panels = divide_up(rows, panel_rows);
  int64_t group_tokens = tokens;
  if (panels < wanted && tokens > kLinearTokens) {
    group_tokens = divide_up(divide_up(tokens, divide_up(wanted, panels)), kLinearTokens) * kLinearTokens;
  }
  return {panel_rows, panels, group_tokens, divide_up(tokens, group_tokens)};
}

LinearBlock block_of(Matrix<const BFloat16> x, Matrix<const BFloat16> w, int64_t token, int64_t tokens,
                     int64_t row, int64_t rows) {
  return {.y = nullptr,
          .y_stride = 0,
          .x = x.row(token),
          .x_stride = x.stride,
          .w = w.row(row),
          .w_stride = w.stride,
          .tokens = static_cast<int>(tokens),
          .rows = static_cast<int>(rows),
          .k = x.cols,
          .parts = 1};
}

}  // namespace

// body(first token, tokens, first row, rows, worker) for blocks that
// cover [tokens, rows], none larger than a kernel's.
template <class Body>
void CpuOps::for_each_panel(int64_t tokens, int64_t rows, int64_t k, const Body& body) {
  if (tokens == 0 || rows == 0) return;
  const Plan plan = make_plan(tokens, rows, k, pool_.threads());
  const Work work{.bytes = 2.0 * rows * k, .flops = 2.0 * tokens * rows * k};
  pool_.for_each(plan.panels * plan.groups, work, [&](int64_t item, int worker) {
    const int64_t row = item / plan.groups * plan.panel_rows;
    const int64_t first = item % plan.groups * plan.group_tokens;
    const int64_t end = std::min(first + plan.group_tokens, tokens);
    for (int64_t token = first; token < end; token += kLinearTokens) {
      body(token, std::min<int64_t>(kLinearTokens, end - token), row, std::min(plan.panel_rows, rows - row),
           worker);
    }
  });
}

void CpuOps::linear(Matrix<float> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w, int parts) {
  check_shapes(y.rows == x.rows && y.cols == w.rows && x.cols == w.cols && x.cols > 0, "linear",
               "y [T, N], x [T, K], w [N, K]");
  check_shapes((parts == 1 || parts == 2) && x.cols % parts == 0, "linear", "K in 1 or 2 equal parts");
  for_each_panel(x.rows, w.rows, x.cols, [&](int64_t token, int64_t tokens, int64_t row, int64_t rows, int) {
    LinearBlock block = block_of(x, w, token, tokens, row, rows);
    block.y = y.row(token) + row;
    block.y_stride = y.stride;
    block.parts = parts;
    kernels_.linear(block);
  });
}

void CpuOps::gate_up(Matrix<BFloat16> y, Matrix<const BFloat16> x, Matrix<const BFloat16> w_gate,
                     Matrix<const BFloat16> w_up) {
  check_shapes(y.rows == x.rows && y.cols == w_gate.rows && y.cols == w_up.rows && x.cols == w_gate.cols &&
                   x.cols == w_up.cols && x.cols > 0,
               "gate_up", "y [T, F], x [T, D], w_gate [F, D], w_up [F, D]");
  // Twice K: a panel is that many rows of both matrices.
  for_each_panel(
      x.rows, y.cols, 2 * x.cols, [&](int64_t token, int64_t tokens, int64_t row, int64_t rows, int worker) {
        auto& [gate, up] = scratch_[static_cast<size_t>(worker)].linear;
        LinearBlock block = block_of(x, w_gate, token, tokens, row, rows);
        block.y = gate;
        block.y_stride = kLinearRows;
        kernels_.linear(block);
        block.y = up;
        block.w = w_up.row(row);
        block.w_stride = w_up.stride;
        kernels_.linear(block);
        for (int64_t t = 0; t < tokens; ++t) {
          kernels_.silu_mul(y.row(token + t) + row, gate + t * kLinearRows, up + t * kLinearRows, rows);
        }
      });
}

void CpuOps::project_qkv(const QkvProjection& p) {
  const int64_t tokens = p.x.rows, kv = p.wk.rows, d = p.cache.head_dim;
  check_shapes(p.q.rows == tokens && p.q.cols == p.wq.rows && p.scratch.rows >= tokens &&
                   p.scratch.cols == 2 * kv && p.wv.rows == kv && p.wq.cols == p.x.cols &&
                   p.wk.cols == p.x.cols && p.wv.cols == p.x.cols && p.x.cols > 0,
               "project_qkv", "q [T, Hq d], scratch [T, 2 Hkv d], x [T, D], wq [Hq d, D], wk, wv [Hkv d, D]");
  check_shapes(d > 0 && d % 2 == 0 && kv == p.cache.kv_heads * d && p.wq.rows % d == 0 &&
                   std::ssize(p.q_norm) == d && std::ssize(p.k_norm) == d && p.rope.rows == tokens &&
                   p.rope.cols == d,
               "project_qkv", "an even head_dim d, q_norm, k_norm [d], rope [T, d]");
  find_slots(tokens, p.cache, p.sequences);

  struct Projection {
    Matrix<const BFloat16> w;
    BFloat16* y;
    int64_t stride;
    int64_t row;  // its first row in the three weights taken as one
  };
  const std::array<Projection, 3> projections = {
      Projection{p.wq, p.q.data, p.q.stride, 0},
      Projection{p.wk, p.scratch.data, p.scratch.stride, p.wq.rows},
      Projection{p.wv, p.scratch.data + kv, p.scratch.stride, p.wq.rows + kv},
  };
  for_each_panel(tokens, p.wq.rows + 2 * kv, p.x.cols,
                 [&](int64_t token, int64_t count, int64_t row, int64_t rows, int worker) {
                   float* const y = scratch_[static_cast<size_t>(worker)].linear[0];
                   for (const Projection& projection : projections) {  // a panel may reach over their borders
                     const int64_t first = std::max<int64_t>(row - projection.row, 0);
                     const int64_t end = std::min(row + rows - projection.row, projection.w.rows);
                     if (first >= end) continue;
                     LinearBlock block = block_of(p.x, projection.w, token, count, first, end - first);
                     block.y = y;
                     block.y_stride = kLinearRows;
                     kernels_.linear(block);
                     for (int64_t t = 0; t < count; ++t) {
                       BFloat16* const to = projection.y + (token + t) * projection.stride + first;
                       kernels_.round(to, y + t * kLinearRows, end - first);
                     }
                   }
                 });
  pool_.for_each(tokens, {.bytes = 8.0 * tokens * (p.wq.rows + 2 * kv)},
                 [&](int64_t token, int) { finish_heads(p, token); });
}

// One token's heads: norm and rotation of q and k, K and V to their slot.
void CpuOps::finish_heads(const QkvProjection& p, int64_t token) {
  const int64_t d = p.cache.head_dim;
  const auto norm_and_rotate = [&](BFloat16* head, std::span<const BFloat16> weight) {
    kernels_.rms_norm(head, head, weight.data(), d, p.eps);
    kernels_.rotate(head, p.rope.row(token), static_cast<int>(d));
  };
  for (int64_t head = 0; head < p.q.cols / d; ++head) norm_and_rotate(p.q.row(token) + head * d, p.q_norm);

  const int64_t slot = slots_[static_cast<size_t>(token)];
  if (slot < 0) return;
  const int64_t key = slot % kBlockTokens;
  for (int64_t head = 0; head < p.cache.kv_heads; ++head) {
    BFloat16* const k = p.scratch.row(token) + head * d;
    const BFloat16* const v = k + p.cache.kv_heads * d;
    norm_and_rotate(k, p.k_norm);
    const int64_t part = (slot / kBlockTokens * p.cache.kv_heads + head) * kBlockTokens * d;
    BFloat16* const to = p.cache.k + part + 2 * key;  // [d / 2, 16 keys, 2]: kernels/attention.h
    for (int64_t i = 0; i < d; ++i) to[i / 2 * 2 * kBlockTokens + i % 2] = k[i];
    std::copy_n(v, d, p.cache.v + part + key * d);
  }
}

void check_sequences(int64_t tokens, std::span<const SequenceSlice> sequences, const char* verb) {
  for (const SequenceSlice& s : sequences) {
    check_shapes(s.num_tokens >= 0 && s.start_position >= 0 && s.first_row >= 0 &&
                     int64_t{s.first_row} + s.num_tokens <= tokens,
                 verb, "the sequences' rows within [0, T)");
  }
}

// slots_[t] = block * kBlockTokens + offset for every token of
// the step; -1 for a row that belongs to no sequence.
void CpuOps::find_slots(int64_t tokens, const KvLayer& cache, std::span<const SequenceSlice> sequences) {
  check_sequences(tokens, sequences, "project_qkv");
  slots_.assign(static_cast<size_t>(tokens), -1);
  for (const SequenceSlice& s : sequences) {
    for (int32_t t = 0; t < s.num_tokens; ++t) {
      const int32_t position = s.start_position + t;
      const int64_t block = s.blocks[position / kBlockTokens];
      check_shapes(block >= 0 && block < cache.num_blocks, "project_qkv", "a block number within the cache");
      slots_[static_cast<size_t>(s.first_row + t)] = block * kBlockTokens + position % kBlockTokens;
    }
  }
}

}  // namespace lockstep
