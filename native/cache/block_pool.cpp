#include "cache/block_pool.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lockstep {
namespace {

Error broken(const std::string& what) {
  return {"ENGINE_FAILED", "The block pool's books are wrong: " + what};
}

}  // namespace

BlockPool::BlockPool(int32_t num_blocks, bool prefix_cache)
    : remembers_(prefix_cache), blocks_(num_blocks), prefixes_(num_blocks) {
  for (int32_t block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

int32_t BlockPool::cached_among(std::span<const int32_t> blocks) const {
  return static_cast<int32_t>(
      std::ranges::count_if(blocks, [this](int32_t block) { return blocks_[block].owners == 0; }));
}

int32_t BlockPool::acquire() {
  int32_t block;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (!unowned_.empty()) {
    block = evict();
    ++evictions_;
  } else {
    throw broken("a block was asked for while none is available");
  }
  blocks_[block].owners = 1;
  return block;
}

void BlockPool::share(int32_t block) {
  if (blocks_[block].owners++ == 0) unowned_.erase(blocks_[block].unowned);
}

void BlockPool::release(std::vector<int32_t>& blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    Block& state = blocks_.at(*block);
    if (state.owners == 0) throw broken("block " + std::to_string(*block) + " was freed twice");
    if (--state.owners > 0) continue;
    if (prefixes_.holds(*block))
      state.unowned = unowned_.insert(unowned_.end(), *block);
    else
      free_.push_back(*block);
  }
  blocks.clear();
}

void BlockPool::drop_cached() {
  while (!unowned_.empty()) free_.push_back(evict());
}

// The cached block used least recently, without its content.
int32_t BlockPool::evict() {
  const int32_t block = unowned_.front();
  unowned_.pop_front();
  prefixes_.forget(block);
  return block;
}

KnownPrefix BlockPool::find_prefix(const PrefixRoot& root, std::span<const int32_t> tokens,
                                   int64_t most_tokens) const {
  KnownPrefix prefix{.blocks = {}, .link = {.root = root}};
  for (int64_t begin = 0; remembers_ && begin + kBlockTokens <= most_tokens; begin += kBlockTokens) {
    const int32_t block = prefixes_.find(prefix.link, tokens.subspan(begin, kBlockTokens));
    if (block < 0) break;
    prefix.blocks.push_back(block);
    prefix.link = prefixes_.behind(block);
  }
  return prefix;
}

PrefixLink BlockPool::remember(int32_t block, const PrefixLink& link, std::span<const int32_t> tokens) {
  if (!remembers_) return link;
  const int32_t same = prefixes_.find(link, tokens);
  if (same >= 0) return prefixes_.behind(same);
  prefixes_.insert(block, link, tokens);
  return prefixes_.behind(block);
}

}  // namespace lockstep
