#include "testing/scheduler_check.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "engine/batch_builder.h"
#include "engine/scheduler.h"
#include "testing/scheduler_twin.h"

namespace lockstep::testing {
namespace {

class World {
 public:
  World(uint64_t seed, CheckReport& report)
      : random_(seed),
        report_(report),
        remembers_(!random_.one_in(5)),
        pool_(random_.one_in(3) ? random_.in(100, 400) : random_.in(3, random_.one_in(2) ? 12 : 48),
              remembers_),
        limits_{.max_batch_tokens = random_.one_in(3) ? random_.in(1, 8) : random_.in(9, 96),
                .max_sequences = random_.in(1, 20)},
        runs_ahead_(!random_.one_in(3)),
        scheduler_(pool_, limits_),
        memory_(static_cast<size_t>(pool_.size()) * kBlockTokens) {
    // Families of prompts, made of few blocks: so that a block stands behind different ones.
    std::vector<int32_t> phrases;
    for (int32_t i = 0; i < 2 * kBlockTokens; ++i) phrases.push_back(random_.in(0, kAlphabet - 1));
    for (auto& family : families_)
      for (int32_t i = 0; i < 160 / kBlockTokens; ++i) {
        const auto phrase = phrases.begin() + random_.in(0, 1) * kBlockTokens;
        family.insert(family.end(), phrase, phrase + kBlockTokens);
      }
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      for (int32_t ops = random_.in(0, 2); ops > 0; --ops) operate();
      step();
    }
    scheduler_.hold_new(held_ = false);
    // The oldest request gets on in every step, so this many are enough for all.
    uint64_t left = 0;
    for (const auto& [id, twin] : live_) left += 2 * twin.tokens.size() + 4 * longest_output(twin) + 64;
    for (; !live_.empty(); --left) {
      require(left > 0, "a request never ends");
      step();
    }
    settle();
    require(pool_.owned_count() == 0 && pool_.available_count() == pool_.size(),
            "blocks are lost at the end");
    std::set<int32_t> all;
    for (int32_t i = 0; i < pool_.size(); ++i) all.insert(pool_.acquire());
    require(static_cast<int32_t>(all.size()) == pool_.size(), "a block is handed out twice at the end");
  }

 private:
  static uint64_t longest_output(const Twin& twin) {
    return static_cast<uint64_t>(twin.request->sampling.max_tokens);
  }

  // As the engine's commands do, these find nothing in flight.
  void operate() {
    settle();
    if (random_.one_in(held_ ? 8 : 24)) return control();
    if (live_.size() < 24 && !random_.one_in(3)) return submit();
    if (live_.empty() || !random_.one_in(6)) return;
    auto victim = live_.begin();
    std::advance(victim, random_.in(0, static_cast<int32_t>(live_.size()) - 1));
    ++report_.aborted;
    remove(victim);
  }

  // What engine/engine_control.cpp asks for.
  void control() {
    switch (random_.in(0, 2)) {
      case 0:
        return scheduler_.hold_new(held_ = !held_);
      case 1:
        return flush();
      default:
        preempt_all();
        if (!random_.one_in(3)) flush();
        if (random_.one_in(2)) return;
        ++weight_version_;
        for (auto& [id, twin] : live_) twin.renew(weight_version_);
    }
  }

  // Only what the running ones own can still be found; and not all of it, where one hangs behind another's block.
  void flush() {
    report_.flushed += static_cast<uint64_t>(pool_.cached_count());
    pool_.drop_cached();
    require(pool_.cached_count() == 0, "a cached block outlives a flush");
    check_books();
    known_.clear();
    for (const auto& [id, twin] : live_) mark_computed(twin, twin.computed);
    evicted_ = pool_.owned_count() > 0;
  }

  void preempt_all() {
    const size_t running = scheduler_.running_count();
    scheduler_.preempt_all();
    report_.preempted_at_once += running;
    report_.preemptions += running;
    require(scheduler_.preemptions() == report_.preemptions, "preemptions are counted wrongly");
    require(scheduler_.running_count() == 0 && pool_.owned_count() == 0,
            "a request keeps running, or its blocks");
    for (auto& [id, twin] : live_) {
      twin.running = false;
      twin.computed = 0;
      twin.blocks.clear();
    }
    check_books();
  }

  void submit() {
    const int32_t context = pool_.size() * kBlockTokens;
    const int32_t prompt = random_.in(1, std::min(context - 1, random_.one_in(3) ? 150 : 60));
    const int32_t shared = random_.one_in(2) ? prompt : random_.in(0, prompt);
    const std::vector<int32_t>& family = families_[static_cast<size_t>(random_.in(0, 5))];
    Twin twin;
    twin.request = std::make_unique<Request>();
    twin.request->root = {static_cast<uint64_t>(random_.in(1, 2)), 0, weight_version_};
    for (int32_t i = 0; i < prompt; ++i) twin.append(i < shared ? family[i] : random_.in(0, kAlphabet - 1));
    Request& request = *twin.request;
    request.id = ++last_id_;
    request.tokens = twin.tokens;
    request.prompt_length = prompt;
    request.sampling.max_tokens =
        random_.one_in(5) ? 0 : random_.in(1, std::min(context - prompt, random_.one_in(3) ? 120 : 30));
    if (random_.one_in(4)) request.sampling.stop_token_ids = {0};
    if (random_.one_in(12)) request.sampling.presence_penalty = 1;
    if (request.sampling.max_tokens == 0 || random_.one_in(2))
      request.score.from = random_.in(0, random_.one_in(2) ? 0 : prompt);
    twin.next_scored = request.score.from < 0 ? prompt : std::max(request.score.from, 1);
    // A preemption is somebody older, or itself, growing by a block; nobody grows over the same edge twice.
    twin.most_preempted = longest_output(twin) / kBlockTokens + 1;
    for (const auto& [id, older] : live_) twin.most_preempted += longest_output(older) / kBlockTokens + 1;
    ++report_.requests;
    scheduler_.add(&request);
    live_.emplace(request.id, std::move(twin));
  }

  void remove(std::map<uint64_t, Twin>::iterator twin) {
    Request* const request = twin->second.request.get();
    scheduler_.remove(request);
    if (in_flight_ != nullptr)
      for (Scheduled& part : in_flight_->scheduled)
        if (part.request == request) part.request = nullptr;
    live_.erase(twin);
    check_books();
  }

  // As engine/engine.cpp does; now and then everything is collected, as before a command.
  void step() {
    Batch* const before = in_flight_;
    const int32_t free_before = pool_.free_count();
    scheduled_ = before == nullptr ? scheduler_.schedule() : scheduler_.schedule_ahead();
    check_states(free_before);
    if (before == nullptr || !scheduled_.empty()) launch();
    if (before != nullptr) collect(*before);
    if (!runs_ahead_ || random_.one_in(10)) settle();
    check_books();
    ++report_.steps;
  }

  void launch() {
    check_scheduled();
    if (in_flight_ != nullptr) check_ahead();
    Batch& batch = batches_[in_flight_ == &batches_[0] ? 1 : 0];
    build_batch(batch, scheduled_);
    read_before();
    write(batch);
    for (const Scheduled& part : scheduled_) {
      scheduler_.mark_launched(part);
      twin_of(part.request).computed += part.num_tokens;
    }
    sample(batch);
    in_flight_ = &batch;
  }

  void collect(Batch& batch) {
    if (in_flight_ == &batch) in_flight_ = nullptr;
    for (const Scheduled& part : batch.scheduled) {
      if (part.request == nullptr) continue;
      scheduler_.mark_computed(part);
      mark_computed(twin_of(part.request), part.begin + part.num_tokens);
    }
    take_tokens(batch);
  }

  void settle() {
    if (in_flight_ != nullptr) collect(*in_flight_);
  }

  Twin& twin_of(const Request* request) {
    for (auto& [id, twin] : live_)
      if (twin.request.get() == request) return twin;
    throw Violation("a request that has ended is scheduled");
  }

  // Who was admitted and who was preempted, seen from the block tables.
  void check_states(int32_t free_before) {
    uint64_t preempted = 0;
    int32_t taken = 0;
    std::map<int32_t, int> owners = owners_seen_;
    for (const auto& [id, twin] : live_)  // what the preempted gave back may be taken in the same call
      if (twin.running && twin.request->blocks.empty())
        for (const int32_t block : twin.blocks) --owners[block];
    bool waiting_seen = false;
    size_t running = 0;
    for (auto& [id, twin] : live_) {  // oldest first
      const Request& request = *twin.request;
      const bool runs = !request.blocks.empty();
      require(!(runs && waiting_seen), "a newer request runs while an older one waits");
      waiting_seen |= !runs;
      running += runs;
      if (twin.running && !runs) {
        ++preempted, ++twin.preempted;
        require(twin.preempted <= twin.most_preempted, "a request is preempted without end");
        report_.most_preempted = std::max(report_.most_preempted, twin.preempted);
        twin.computed = 0;
      } else if (!twin.running && runs) {
        evicted_ |= taken > free_before;  // by the older ones in this call
        admit(twin);
      }
      const size_t known =
          twin.running ? twin.blocks.size() : static_cast<size_t>(twin.computed / kBlockTokens);
      for (size_t i = known; i < request.blocks.size(); ++i, ++taken)
        require(owners[request.blocks[i]] == 0, "a block in use is handed out");
      if (twin.running && runs)
        require(std::equal(twin.blocks.begin(), twin.blocks.end(), request.blocks.begin()),
                "the block table of a running request changes");
      twin.running = runs;
      twin.blocks = request.blocks;
    }
    if (preempted == 0) {
      const uint64_t evicted = static_cast<uint64_t>(std::max(0, taken - free_before));
      require(pool_.evictions() - evictions_ == evicted, "evictions are counted wrongly");
      evicted_ |= evicted > 0;
      report_.evictions += evicted;
    }
    evictions_ = pool_.evictions();
    evicted_ |= preempted > 0;  // blocks given back and taken again in one call: the twin cannot tell
    report_.preemptions += preempted;
    require(scheduler_.preemptions() == report_.preemptions, "preemptions are counted wrongly");
    require(scheduler_.running_count() == running && scheduler_.waiting_count() == live_.size() - running,
            "running or waiting requests are counted wrongly");
    require(running <= static_cast<size_t>(limits_.max_sequences), "more than max_sequences run");
    const auto begun = [](const auto& entry) { return entry.second.admitted; };
    require(scheduler_.drained() == std::ranges::none_of(live_, begun), "drained() is wrong");
  }

  // A request enters with the blocks of all its tokens, the first ones perhaps from the cache.
  void admit(Twin& twin) {
    const Request& request = *twin.request;
    const int32_t hits = request.num_computed / kBlockTokens;
    require(request.num_computed % kBlockTokens == 0, "a cached prefix ends inside a block");
    require(request.num_computed <= std::max(0, most_cached(twin)),
            "a needed logit was taken from the cache");
    require(hits == 0 || remembers_, "a hit without a prefix cache");
    int32_t expected = 0;
    const auto end = [](int32_t block) { return (block + 1) * kBlockTokens; };
    while (remembers_ && end(expected) <= most_cached(twin) && known_.contains(twin.slots[end(expected) - 1]))
      ++expected;
    require(hits <= expected, "a hit on what was never computed");
    if (!evicted_) require(hits == expected, "a known prefix is computed again");
    report_.exact_hits += !evicted_ && expected > 0;
    report_.hit_blocks += static_cast<uint64_t>(hits);
    if (!twin.admitted) {
      require(!held_, "a new request begins while new ones are held");
      cached_tokens_ += static_cast<uint64_t>(request.num_computed);
      if (hits > 0) ++(end(hits) > most_cached(twin) ? full_hits_ : partial_hits_);
    }
    twin.admitted = true;
    twin.computed = request.num_computed;
    if (remembers_ && end(hits) <= most_cached(twin))
      for (const auto& [id, other] : live_)
        require(!other.running || other.request->pending_tokens() <= 1 ||
                    std::ssize(other.slots) < end(hits) ||
                    other.slots[end(hits) - 1] != twin.slots[end(hits) - 1],
                "a prefix that is being computed is computed a second time");
  }

  static int32_t most_cached(const Twin& twin) {
    const int32_t length = static_cast<int32_t>(twin.tokens.size());
    return (twin.next_scored < twin.request->prompt_length ? twin.next_scored : length) - 1;
  }

  void check_scheduled() {
    require(scheduler_.cached_tokens() == cached_tokens_, "cached tokens are counted wrongly");
    require(scheduler_.full_hits() == full_hits_ && scheduler_.partial_hits() == partial_hits_,
            "prefix hits are counted wrongly");
    int32_t total = 0;
    std::set<const Request*> seen;
    for (const auto& [request, num_tokens, begin] : scheduled_) {
      const Twin& twin = twin_of(request);
      require(seen.insert(request).second, "a request stands in a step twice");
      require(twin.running && num_tokens > 0, "a waiting request, or none of its tokens, is scheduled");
      require(request->num_computed == twin.computed && begin == twin.computed,
              "tokens are skipped or computed again");
      const bool unknown = in_flight_ != nullptr && request->tokens.back() < 0;
      require(std::equal(request->tokens.begin(), request->tokens.end() - unknown, twin.tokens.begin(),
                         twin.tokens.end() - unknown),
              "tokens are lost or changed");
      require(twin.computed + num_tokens <= request->length(), "more tokens than there are");
      require(blocks_for(twin.computed + num_tokens) <= static_cast<int32_t>(request->blocks.size()),
              "a block table too short");
      total += num_tokens;
    }
    require(total <= limits_.max_batch_tokens, "more than max_batch_tokens in a step");
    if (in_flight_ != nullptr) return;
    const bool all_held = held_ && scheduler_.drained();
    report_.held += all_held && !live_.empty();
    require(live_.empty() || all_held || seen.contains(live_.begin()->second.request.get()),
            "the oldest request stands still");
  }

  // A step ahead is the one that would follow, but for those that end with the step in flight.
  void check_ahead() {
    ++report_.ahead;
    bool prefill = false;
    const Twin* first_waiting = nullptr;
    for (const auto& [id, twin] : live_) {
      const Request& request = *twin.request;
      if (!twin.running) {
        if (first_waiting == nullptr) first_waiting = &twin;
        continue;
      }
      prefill |= request.pending_tokens() > 1;
      const bool scheduled = std::any_of(scheduled_.begin(), scheduled_.end(),
                                         [&](const Scheduled& part) { return part.request == &request; });
      const int32_t output = static_cast<int32_t>(twin.tokens.size()) - request.prompt_length;
      const bool decodes = request.pending_tokens() <= 1 && output < request.sampling.max_tokens;
      require(scheduled || !decodes, "a decode is left out of a step ahead");
      if (request.tokens.back() >= 0) continue;
      require(output < request.sampling.max_tokens, "a request is computed beyond its end");
      require(!request.sampling.penalized(), "a penalty does not know the token before");
    }
    const size_t most = static_cast<size_t>(std::min(limits_.max_sequences, limits_.max_batch_tokens));
    if (first_waiting == nullptr || (held_ && !first_waiting->admitted) || prefill ||
        scheduler_.running_count() >= most)
      return;
    require(blocks_for(first_waiting->request->length()) + static_cast<int32_t>(scheduler_.running_count()) >
                pool_.available_count(),
            "a request waits though it could be admitted");
  }

  uint64_t& slot(const Request& request, int32_t position) {
    const int32_t block = request.blocks[static_cast<size_t>(position / kBlockTokens)];
    return memory_.at(static_cast<size_t>(block * kBlockTokens + position % kBlockTokens));
  }

  void check_memory(const Twin& twin, int32_t end) {
    for (int32_t p = 0; p < end; ++p)
      require(slot(*twin.request, p) == twin.slots[p], "a block does not hold what it should");
  }

  void read_before() {
    for (const Scheduled& part : scheduled_) check_memory(twin_of(part.request), part.request->num_computed);
  }

  // The forward pass: all write, then all read.
  void write(const Batch& batch) {
    std::map<int32_t, int> owners = count_owners();
    for (size_t i = 0; i < scheduled_.size(); ++i) {
      const SequenceSlice& slice = batch.step.sequences.at(i);
      const Twin& twin = twin_of(scheduled_[i].request);
      for (int32_t row = 0; row < slice.num_tokens; ++row) {
        const int32_t position = batch.step.positions.at(slice.first_row + row);
        require(position == slice.start_position + row, "positions do not follow each other");
        int32_t token = batch.step.tokens.at(slice.first_row + row);
        if (token < 0) token = sampled_.at(static_cast<size_t>(row_of_unsampled(token)));
        require(token == twin.tokens.at(position), "a wrong token in the step");
        require(owners[slice.blocks[position / kBlockTokens]] == 1, "a shared block is written");
        memory_.at(static_cast<size_t>(slice.blocks[position / kBlockTokens] * kBlockTokens +
                                       position % kBlockTokens)) = twin.slots[position];
      }
    }
    for (const auto& [request, num_tokens, begin] : scheduled_)
      check_memory(twin_of(request), begin + num_tokens);
  }

  // On the device: what each head row takes.
  void sample(const Batch& batch) {
    sampled_.assign(batch.head_rows.size(), -1);
    for (size_t i = 0; i < batch.head_rows.size(); ++i) {
      if (!batch.head_rows[i].sampled) continue;
      const Request& request = *batch.scheduled.at(batch.head_rows[i].sequence).request;
      Twin& twin = twin_of(&request);
      const int32_t position = batch.step.positions.at(static_cast<size_t>(batch.step.head_rows[i]));
      require(position + 1 == std::ssize(twin.tokens), "a token is drawn from the wrong row");
      sampled_[i] = token_after(slot(request, position));
      twin.append(token_after(twin.slots.back()));
    }
  }

  void mark_computed(const Twin& twin, int32_t computed) {
    for (int32_t end = kBlockTokens; remembers_ && end <= computed; end += kBlockTokens)
      known_.insert(twin.slots[end - 1]);
  }

  // As engine/sampler.cpp does: scored rows first, then a token; ends are removed.
  void take_tokens(const Batch& batch) {
    for (size_t i = 0; i < batch.head_rows.size(); ++i) {
      Request* const request = batch.scheduled.at(batch.head_rows[i].sequence).request;
      if (request == nullptr) continue;
      Twin& twin = twin_of(request);
      const int32_t position = batch.step.positions.at(static_cast<size_t>(batch.step.head_rows[i]));
      if (!batch.head_rows[i].sampled) {
        require(position + 1 == twin.next_scored, "a prompt token is scored twice or not at all");
        ++twin.next_scored;
        request->scored.emplace_back();
        continue;
      }
      if (request->tokens.back() < 0) request->tokens.pop_back();
      require(position + 1 == request->length(), "a token is taken from the wrong row");
      request->tokens.push_back(twin.tokens.at(static_cast<size_t>(position) + 1));
    }
    for (const Scheduled& part : batch.scheduled) {
      if (part.request == nullptr) continue;
      const auto twin = live_.find(part.request->id);
      const Request& request = *part.request;
      const SamplingParams& sampling = request.sampling;
      const bool stopped =
          request.output_length() > 0 && request.tokens.back() == 0 && !sampling.stop_token_ids.empty();
      const bool goes_on = sampling.max_tokens == 0 ? part.begin + part.num_tokens < request.length()
                                                    : request.output_length() < sampling.max_tokens;
      if (goes_on && !stopped) continue;
      require(twin->second.next_scored >= request.prompt_length,
              "a request ends before its prompt is scored");
      ++report_.finished;
      remove(twin);
    }
  }

  std::map<int32_t, int> count_owners() const {
    std::map<int32_t, int> owners;
    for (const auto& [id, twin] : live_)
      for (const int32_t block : twin.request->blocks) ++owners[block];
    return owners;
  }

  void check_books() {
    owners_seen_ = count_owners();
    require(pool_.owned_count() == static_cast<int32_t>(owners_seen_.size()),
            "owned blocks are counted wrongly");
    require(pool_.free_count() + pool_.cached_count() + pool_.owned_count() == pool_.size(),
            "free + cached + owned is not the total");
    require(remembers_ || pool_.cached_count() == 0, "a cached block without a prefix cache");
    for (const auto& [id, twin] : live_) {
      const std::vector<int32_t>& blocks = twin.request->blocks;
      require(std::set<int32_t>(blocks.begin(), blocks.end()).size() == blocks.size(),
              "a request owns a block twice");
    }
  }

  Random random_;
  CheckReport& report_;
  const bool remembers_;
  BlockPool pool_;
  const SchedulerLimits limits_;
  const bool runs_ahead_;
  Scheduler scheduler_;
  std::vector<uint64_t> memory_;  // [blocks, B]: what each slot holds
  std::vector<int32_t> families_[6];
  std::map<uint64_t, Twin> live_;  // by id: oldest first
  uint64_t last_id_ = 0;
  uint64_t weight_version_ = 0;
  bool held_ = false;  // new requests
  std::span<const Scheduled> scheduled_;
  Batch batches_[2];              // in turn
  Batch* in_flight_ = nullptr;    // launched last and not collected
  std::vector<int32_t> sampled_;  // on the device: by the step launched last, by head row
  std::set<uint64_t> known_;      // contents of full blocks computed so far, by their last slot
  bool evicted_ = false;          // then some of them are gone
  uint64_t cached_tokens_ = 0, full_hits_ = 0, partial_hits_ = 0, evictions_ = 0;
  std::map<int32_t, int> owners_seen_;
};

}  // namespace

CheckReport check_scheduler(uint64_t seed, int steps) {
  CheckReport report;
  try {
    World(seed, report).run(steps);
  } catch (const std::exception& error) {
    report.violation = error.what();
  }
  return report;
}

}  // namespace lockstep::testing
