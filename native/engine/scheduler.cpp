#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

namespace lockstep {

void Scheduler::remove(Request* request) {
  std::erase(waiting_, request);
  std::erase(running_, request);
  pool_.release(request->blocks);
}

std::span<const Scheduled> Scheduler::schedule() {
  scheduled_.clear();
  budget_ = limits_.max_batch_tokens;
  const uint64_t preemptions_before = preemptions_;
  schedule_decodes();
  schedule_prefills();
  // Whoever was preempted just now would take the blocks back at once.
  if (preemptions_ == preemptions_before) admit();
  return scheduled_;
}

std::span<const Scheduled> Scheduler::schedule_ahead() {
  scheduled_.clear();
  budget_ = limits_.max_batch_tokens;
  if (admissible()) return {};
  // The step in flight samples a token for each of these, and does not end it for sure.
  const auto goes_on = [](const Request& request) {
    return request.pending_tokens() == 0 && request.output_length() + 1 < request.sampling.max_tokens;
  };
  int32_t missing = 0;
  for (const Request* request : running_) {
    if (!goes_on(*request)) continue;
    if (request->sampling.penalized()) return {};
    missing += blocks_for(request->length() + 1) - static_cast<int32_t>(request->blocks.size());
  }
  if (missing > pool_.available_count()) return {};
  for (Request* request : running_)
    if (goes_on(*request)) request->tokens.push_back(unsampled(request->head_row));
  schedule_decodes();
  schedule_prefills();
  return scheduled_;
}

void Scheduler::schedule_decodes() {
  // A victim is the newest of all, so it stands behind the present request or is that request: never one that
  // this step already counts on.
  for (size_t i = 0; i < running_.size() && budget_ > 0; ++i) {
    Request* request = running_[i];
    if (request->pending_tokens() != 1) continue;
    while (i < running_.size() && !grow(request, request->length())) preempt_newest();
    if (i < running_.size()) take(request);
  }
}

void Scheduler::schedule_prefills() {
  for (size_t i = 0; i < running_.size() && budget_ > 0; ++i)
    if (running_[i]->pending_tokens() > 1) take(running_[i]);
}

void Scheduler::admit() {
  while (budget_ > 0) {
    std::optional<KnownPrefix> known = admissible();
    if (!known) return;
    Request* request = waiting_.front();
    start(request, *std::move(known));
    waiting_.pop_front();
    running_.push_back(request);
    take(request);
  }
}

// Where the first of the queue can be admitted, what the cache knows of it. Touches nothing: sharing and
// giving back would change the order of eviction.
std::optional<KnownPrefix> Scheduler::admissible() const {
  // A step cannot hold more decodes than tokens, so running more sequences than that would only starve some.
  const size_t most = std::min(limits_.max_sequences, limits_.max_batch_tokens);
  if (waiting_.empty() || running_.size() >= most) return {};
  const Request& request = *waiting_.front();
  if (hold_new_ && !begun(request)) return {};
  KnownPrefix known = pool_.find_prefix(request.root, request.tokens, request.most_cached_tokens());
  if (being_computed(request, known.blocks.size())) return {};
  // A block of headroom for each running sequence: otherwise the next decode would preempt the newcomer.
  const int32_t needed = blocks_for(request.length()) - static_cast<int32_t>(known.blocks.size()) +
                         static_cast<int32_t>(running_.size());
  if (needed > pool_.available_count() - pool_.cached_among(known.blocks)) return {};
  return known;
}

// Gives the request the blocks of all its tokens, known ones first.
void Scheduler::start(Request* request, KnownPrefix known) {
  for (const int32_t block : known.blocks) pool_.share(block);
  request->blocks = std::move(known.blocks);
  request->num_remembered = static_cast<int32_t>(request->blocks.size());
  request->num_computed = request->num_remembered * kBlockTokens;
  request->link = known.link;
  grow(request, request->length());
  if (request->cached_tokens < 0) {
    request->cached_tokens = request->num_computed;
    cached_tokens_ += static_cast<uint64_t>(request->num_computed);
    if (request->num_computed > 0) {
      const bool full = request->num_remembered == request->most_cached_tokens() / kBlockTokens;
      ++(full ? full_hits_ : partial_hits_);
    }
  }
}

// Whether a running prefill will fill the first full block that `request` lacks: with the same tokens from
// the start.
bool Scheduler::being_computed(const Request& request, size_t known_blocks) const {
  const int64_t needed = (static_cast<int64_t>(known_blocks) + 1) * kBlockTokens;
  if (!pool_.remembers() || needed > request.most_cached_tokens()) return false;
  return std::any_of(running_.begin(), running_.end(), [&](const Request* other) {
    return other->pending_tokens() > 1 && other->length() >= needed && other->root == request.root &&
           std::equal(request.tokens.begin(), request.tokens.begin() + needed, other->tokens.begin());
  });
}

void Scheduler::mark_launched(const Scheduled& scheduled) {
  scheduled.request->num_computed += scheduled.num_tokens;
}

void Scheduler::mark_computed(const Scheduled& scheduled) {
  Request& request = *scheduled.request;
  const int32_t end = scheduled.begin + scheduled.num_tokens;
  for (; (request.num_remembered + 1) * kBlockTokens <= end; ++request.num_remembered) {
    const auto tokens =
        std::span(request.tokens).subspan(request.num_remembered * kBlockTokens, kBlockTokens);
    request.link = pool_.remember(request.blocks[request.num_remembered], request.link, tokens);
  }
}

void Scheduler::take(Request* request) {
  const int32_t tokens = std::min(request->pending_tokens(), budget_);
  scheduled_.push_back({request, tokens, request->num_computed});
  budget_ -= tokens;
}

// Gives the request the blocks of its first `tokens` tokens; false, and nothing taken, where they are too few.
bool Scheduler::grow(Request* request, int32_t tokens) {
  const int32_t missing = blocks_for(tokens) - static_cast<int32_t>(request->blocks.size());
  if (missing > pool_.available_count()) return false;
  for (int32_t i = 0; i < missing; ++i) request->blocks.push_back(pool_.acquire());
  return true;
}

void Scheduler::give_back(Request* request) {
  pool_.release(request->blocks);
  request->num_computed = 0;
  request->num_remembered = 0;
}

void Scheduler::preempt_newest() {
  Request* victim = running_.back();
  running_.pop_back();
  give_back(victim);
  waiting_.push_front(victim);
  ++preemptions_;
}

void Scheduler::preempt_all() {
  while (!running_.empty()) preempt_newest();
}

}  // namespace lockstep
