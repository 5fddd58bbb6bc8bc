#include "cache/kv_cache.h"

namespace lockstep {

KvCache::KvCache(Ops& ops, int num_layers, int kv_heads, int head_dim, int num_blocks)
    : buffer_(ops.allocate(block_bytes(num_layers, kv_heads, head_dim) * static_cast<size_t>(num_blocks))),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      num_blocks_(num_blocks) {}

KvLayer KvCache::layer(int index) const {
  const int64_t elements = kv_block_elements(kv_heads_, head_dim_) * num_blocks_;
  BFloat16* k = reinterpret_cast<BFloat16*>(buffer_->data()) + 2 * index * elements;
  return {.k = k, .v = k + elements, .num_blocks = num_blocks_, .kv_heads = kv_heads_, .head_dim = head_dim_};
}

size_t KvCache::block_bytes(int num_layers, int kv_heads, int head_dim) {
  return size_t{2} * num_layers * kv_block_elements(kv_heads, head_dim) * sizeof(BFloat16);
}

}  // namespace lockstep
