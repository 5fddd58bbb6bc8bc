// Attention: the cut into tiles of queries. An item is one key-value head and a few tokens of one sequence,
// with all the query heads that share that head. The arithmetic and its order are kernels/attention.h's.
#include <algorithm>

#include "ops/cpu/cpu_backend.h"

namespace lockstep {

static_assert(kKeysPerBlock == kBlockTokens && kKeysPerSplit == kAttentionSplit);

void CpuOps::attention(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                       std::span<const SequenceSlice> sequences) {
  const int64_t d = cache.head_dim, width = d * cache.kv_heads;
  check_shapes(y.rows == q.rows && y.cols == q.cols && width > 0 && q.cols % width == 0, "attention",
               "y, q [T, Hq d], Hq a multiple of Hkv");
  check_shapes(d % 2 == 0 && d <= kMaxHeadDim, "attention", "an even head_dim of at most 512");
  check_sequences(q.rows, sequences, "attention");

  const int32_t group = static_cast<int32_t>(q.cols / width);  // query heads per key-value head
  const int32_t tile_tokens = std::max(1, kAttentionQueries / group);
  tiles_.clear();
  Work work;
  for (const SequenceSlice& s : sequences) {
    for (int32_t first = 0; first < s.num_tokens; first += tile_tokens) {
      tiles_.push_back({&s, first, std::min(tile_tokens, s.num_tokens - first)});
      const double keys = s.start_position + first + tile_tokens;
      work.bytes += 4.0 * keys * static_cast<double>(width);
      work.flops += 4.0 * keys * tile_tokens * static_cast<double>(q.cols);
    }
  }
  // Backwards: a prompt's last tokens see the most keys, and the longest items are best claimed first.
  const int64_t items = std::ssize(tiles_) * cache.kv_heads;
  pool_.for_each(items, work, [&](int64_t item, int worker) {
    const int64_t reversed = items - 1 - item;
    attend(y, q, cache, tiles_[static_cast<size_t>(reversed / cache.kv_heads)],
           static_cast<int32_t>(reversed % cache.kv_heads), &scratch_[static_cast<size_t>(worker)].attention);
  });
}

void CpuOps::attend(Matrix<BFloat16> y, Matrix<const BFloat16> q, const KvLayer& cache,
                    const AttentionTile& tile, int32_t kv_head, AttentionScratch* scratch) {
  const int64_t d = cache.head_dim, head_part = kv_head * kBlockTokens * d;
  const int32_t group = static_cast<int32_t>(q.cols / (d * cache.kv_heads));
  AttentionBlock block;
  block.k = cache.k + head_part;
  block.v = cache.v + head_part;
  block.block_stride = kv_block_elements(cache.kv_heads, cache.head_dim);
  block.blocks = tile.sequence->blocks;
  block.head_dim = cache.head_dim;
  block.scale = 1.0f / __builtin_sqrtf(static_cast<float>(d));
  block.scratch = scratch;

  const int32_t queries =
      tile.tokens * group;  // more than a kernel's only where one token has more heads than that
  for (int32_t first = 0; first < queries; first += kAttentionQueries) {
    block.queries = std::min(kAttentionQueries, queries - first);
    for (int32_t i = 0; i < block.queries; ++i) {
      const int32_t token = tile.first + (first + i) / group;
      const int64_t row = tile.sequence->first_row + token;
      const int64_t column = (int64_t{kv_head} * group + (first + i) % group) * d;
      block.q[i] = q.row(row) + column;
      block.y[i] = y.row(row) + column;
      block.position[i] = tile.sequence->start_position + token;
    }
    kernels_.attention(block);
  }
}

}  // namespace lockstep
