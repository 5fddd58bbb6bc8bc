// Which KV blocks are free, cached or owned. Numbers only: no tensors, no threads, no clock. Engine thread
// only.
//
//           acquire                                 last release, content known to the prefix cache
//   free ------------> owned (by one request or more) ------------------------------------------> cached
//     ^                  |  ^                                                                      |  |
//     +-- last release --+  +-------------------------------- share -------------------------------+  |
//                           +--------- acquire where nothing is free: the least recently used --------+
#pragma once
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "cache/prefix_cache.h"

namespace lockstep {

// Blocks that hold the beginning of a sequence, and where the next block hangs.
struct KnownPrefix {
  std::vector<int32_t> blocks;
  PrefixLink link;
};

class BlockPool {
 public:
  // Without `prefix_cache`, nothing is remembered and no block is ever cached.
  BlockPool(int32_t num_blocks, bool prefix_cache);

  bool remembers() const { return remembers_; }
  int32_t size() const { return static_cast<int32_t>(blocks_.size()); }
  int32_t free_count() const { return static_cast<int32_t>(free_.size()); }
  int32_t cached_count() const { return static_cast<int32_t>(unowned_.size()); }
  uint64_t evictions() const { return evictions_; }  // cached blocks that were given other content
  int32_t owned_count() const { return size() - free_count() - cached_count(); }
  // What acquire() can give.
  int32_t available_count() const { return free_count() + cached_count(); }
  // How many of `blocks` are cached, not owned: sharing them makes so many fewer available.
  int32_t cached_among(std::span<const int32_t> blocks) const;

  // A block with one owner and unknown content. Precondition: available_count() > 0.
  int32_t acquire();
  // One more owner for a cached or owned block.
  void share(int32_t block);
  // One owner less for each. The last blocks of a sequence become the first to be evicted: what hangs behind
  // an evicted block cannot be found any more. Releasing a block without owner throws Error("ENGINE_FAILED").
  void release(std::vector<int32_t>& blocks);

  // The longest run of known blocks that hold the first tokens, at most `most_tokens`, behind `root`. The
  // caller shares them before the next acquire().
  KnownPrefix find_prefix(const PrefixRoot& root, std::span<const int32_t> tokens, int64_t most_tokens) const;
  // All cached blocks become free; owned ones keep what they hold.
  void drop_cached();
  // `block` now holds these kBlockTokens tokens behind `link`. Returns where the next block hangs: behind
  // this block, or behind an older one with the same content.
  PrefixLink remember(int32_t block, const PrefixLink& link, std::span<const int32_t> tokens);

 private:
  struct Block {
    int32_t owners = 0;
    std::list<int32_t>::iterator unowned;  // place in unowned_, while cached
  };

  int32_t evict();

  const bool remembers_;
  std::vector<Block> blocks_;
  std::vector<int32_t> free_;   // a stack: the block freed last is used next, while it is still in the caches
  std::list<int32_t> unowned_;  // cached blocks, least recently used first
  PrefixCache prefixes_;
  uint64_t evictions_ = 0;
};

// Blocks that hold `tokens` tokens.
constexpr int32_t blocks_for(int64_t tokens) {
  return static_cast<int32_t>((tokens + kBlockTokens - 1) / kBlockTokens);
}

}  // namespace lockstep
