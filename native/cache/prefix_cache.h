// What full KV blocks hold, so that a request can take over the blocks of a prefix computed before. An index
// only: who owns a block, and which may be evicted, is the block pool's business. Engine thread only.
//
// Blocks form chains. An entry's identity is (the entry before it, its tokens), and each entry has a number
// that is never used again, so equal identities mean equal prefixes: nothing rests on a hash being free of
// collisions. The first entry of a chain stands behind a root: what else the numbers, or the sharing, depend on.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "ops/tensor.h"

namespace lockstep {

using PrefixRoot = std::array<uint64_t, 3>;  // a digest of the caller's cacheSalt, then the weight version

// The place in a chain: where the next block hangs.
struct PrefixLink {
  PrefixRoot root{};
  uint64_t parent = 0;  // number of the entry before; 0 = the root
};

class PrefixCache {
 public:
  explicit PrefixCache(int32_t num_blocks) : entries_(num_blocks) {}

  // The block that holds `tokens` (kBlockTokens of them) behind `link`, or -1.
  int32_t find(const PrefixLink& link, std::span<const int32_t> tokens) const;

  // `block` holds `tokens` behind `link`, which find() does not know yet.
  void insert(int32_t block, const PrefixLink& link, std::span<const int32_t> tokens);

  // The block's content is about to be overwritten. Entries behind it can no longer be found.
  void forget(int32_t block);

  bool holds(int32_t block) const { return entries_[block].number != 0; }
  PrefixLink behind(int32_t block) const { return {entries_[block].link.root, entries_[block].number}; }

 private:
  struct Entry {
    uint64_t number = 0;  // 0 = none
    PrefixLink link;
    std::array<int32_t, kBlockTokens> tokens;
  };
  static uint64_t hash(const PrefixLink& link, std::span<const int32_t> tokens);

  std::vector<Entry> entries_;                           // [num_blocks]
  std::unordered_multimap<uint64_t, int32_t> block_of_;  // hash → block
  uint64_t last_number_ = 0;
};

}  // namespace lockstep
