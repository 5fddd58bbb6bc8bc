#include "cache/prefix_cache.h"

#include <algorithm>

namespace lockstep {

uint64_t PrefixCache::hash(const PrefixLink& link, std::span<const int32_t> tokens) {
  // The finalizer of splitmix64 over each word. Only speed depends on it.
  uint64_t state = 0;
  const auto mix = [&state](uint64_t word) {
    state = (state ^ word) + 0x9e3779b97f4a7c15u;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    state ^= state >> 31;
  };
  for (const uint64_t word : link.root) mix(word);
  mix(link.parent);
  for (const int32_t token : tokens) mix(static_cast<uint32_t>(token));
  return state;
}

int32_t PrefixCache::find(const PrefixLink& link, std::span<const int32_t> tokens) const {
  const auto [first, last] = block_of_.equal_range(hash(link, tokens));
  for (auto candidate = first; candidate != last; ++candidate) {
    const Entry& entry = entries_[candidate->second];
    if (entry.link.parent == link.parent && entry.link.root == link.root &&
        std::equal(tokens.begin(), tokens.end(), entry.tokens.begin()))
      return candidate->second;
  }
  return -1;
}

void PrefixCache::insert(int32_t block, const PrefixLink& link, std::span<const int32_t> tokens) {
  Entry& entry = entries_[block];
  entry.number = ++last_number_;
  entry.link = link;
  std::copy_n(tokens.begin(), kBlockTokens, entry.tokens.begin());
  block_of_.emplace(hash(link, tokens), block);
}

void PrefixCache::forget(int32_t block) {
  Entry& entry = entries_[block];
  if (entry.number == 0) return;
  const auto [first, last] = block_of_.equal_range(hash(entry.link, entry.tokens));
  block_of_.erase(std::find_if(first, last, [block](const auto& item) { return item.second == block; }));
  entry.number = 0;
}

}  // namespace lockstep
