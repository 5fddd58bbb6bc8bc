// KV storage of one rank: [layer][K, V][block], one reservation made at load. Which request owns which block
// is the block pool's business. Engine thread only.
#pragma once
#include <memory>

#include "ops/ops.h"

namespace lockstep {

class KvCache {
 public:
  // kv_heads: of this rank. Throws Error("OUT_OF_MEMORY").
  KvCache(Ops& ops, int num_layers, int kv_heads, int head_dim, int num_blocks);

  KvLayer layer(int index) const;

  static size_t block_bytes(int num_layers, int kv_heads, int head_dim);  // K and V of all layers

 private:
  std::unique_ptr<Buffer> buffer_;
  int kv_heads_, head_dim_, num_blocks_;
};

}  // namespace lockstep
