// Sampling: log-sum-exp and argmax, penalties, filters, the draw and the log probabilities, for all rows of a
// step.
//
// Rules and orders: docs/numerics.md, Sampling. Sums run over chunks of 4,096 tokens; in a chunk, thread i of
// 256 takes 256 v + i, warps are folded and added ascending; chunks are merged ascending in double by one
// thread. Maxima, argmaxes, selections and the race have no order: ties go to the lower id. Integer atomics
// only.
//
// Bytes: 4 V a row and pass; three passes for greedy and unfiltered rows. A row with top-k, top-p or min-p
// takes about nine more passes by one block (radix selection). Floor: the logits' bytes, from L2.
#include <cfloat>

#include "base/math_functions.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/sampler.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kFirstNucleus =
    64;  // tokens put in order at first for top-p; eight times as many in each further try

__device__ __forceinline__ float infinity() { return from_bits(0x7f800000u); }

// ---- log-sum-exp and argmax ----

// kOnly: all rows are greedy and nothing changes their logits, so the first pass is the last.
enum class Pass { kRaw, kOnly, kTempered, kGreedyAfterAll };

struct StatsShared {
  float max[kWarps], sum[kWarps];
  int argmax[kWarps], infinite;
};

// Grid: chunks by rows.
__global__ void __launch_bounds__(kThreads) chunk_stats_kernel(const SamplingCall c, Pass pass) {
  begin_kernel();
  auto& shared = *dynamic_shared<StatsShared>();
  const int row = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  if (pass == Pass::kGreedyAfterAll && c.state[row].greedy != 2) return;
  const float wanted = c.options[row].temperature;
  const float temperature = pass == Pass::kTempered && wanted > 0 ? wanted : 1.0f;
  const int first = static_cast<int>(blockIdx.x) * kLogitChunk;
  const int end = first + kLogitChunk < c.vocabulary ? first + kLogitChunk : c.vocabulary;
  const float* const x = c.logits + row * c.stride;

  if (thread == 0) shared.infinite = 0;
  __syncthreads();  // the flag is 0
  float max = -infinity();
  int argmax = c.vocabulary;
  bool infinite = false;
  for (int i = first + thread; i < end; i += kThreads) {
    const float value = x[i] / temperature;
    infinite = infinite || !(x[i] - x[i] == 0.0f);
    if (argmax == c.vocabulary || value > max) max = value, argmax = i;
  }
  if (infinite) atomicOr(&shared.infinite, 1);
  for (int width = 16; width > 0; width /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, max, width);
    const int at = __shfl_xor_sync(kAllLanes, argmax, width);
    if (other > max || (other == max && at < argmax)) max = other, argmax = at;
  }
  if (thread % 32 == 0) shared.max[warp] = max, shared.argmax[warp] = argmax;
  __syncthreads();  // the warps' maxima are there
  for (int i = 0; i < kWarps; ++i)
    if (shared.max[i] > max || (shared.max[i] == max && shared.argmax[i] < argmax))
      max = shared.max[i], argmax = shared.argmax[i];
  float sum = 0.0f;
  for (int i = first + thread; i < end; i += kThreads) sum = sum + exp_own(x[i] / temperature - max);
  sum = fold_sum(sum);
  if (thread % 32 == 0) shared.sum[warp] = sum;
  __syncthreads();  // the warps' sums are there
  if (thread != 0) return;
  float total = shared.sum[0];
  for (int i = 1; i < kWarps; ++i) total = total + shared.sum[i];
  c.stats[row * c.chunks + static_cast<int>(blockIdx.x)] = {max, argmax, shared.infinite == 0 ? 1 : 0, total};
}

// What a row is drawn from, as far as it is known after a pass. Grid: rows, a warp each.
__global__ void __launch_bounds__(32) totals_kernel(const SamplingCall c, Pass pass) {
  begin_kernel();
  double* const terms = dynamic_shared<double>();  // [chunks]
  const int row = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
  RowState& state = c.state[row];
  const DeviceRow& options = c.options[row];
  if (pass == Pass::kGreedyAfterAll && state.greedy != 2) return;
  const ChunkStats* const stats = c.stats + row * c.chunks;
  float max = -infinity();
  int argmax = c.vocabulary, finite = 1;
  for (int i = lane; i < c.chunks; i += 32) {
    finite = finite & stats[i].finite;
    if (argmax == c.vocabulary || stats[i].max > max) max = stats[i].max, argmax = stats[i].argmax;
  }
  for (int width = 16; width > 0; width /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, max, width);
    const int at = __shfl_xor_sync(kAllLanes, argmax, width);
    if (other > max || (other == max && at < argmax)) max = other, argmax = at;
    finite = finite & __shfl_xor_sync(kAllLanes, finite, width);
  }
  for (int i = lane; i < c.chunks; i += 32)
    terms[i] = stats[i].max == -infinity()  // a chunk of banned tokens
                   ? 0.0
                   : static_cast<double>(stats[i].sum) *
                         functions::exp(static_cast<double>(stats[i].max) - static_cast<double>(max));
  __syncwarp();  // the terms are there
  if (lane != 0) return;
  double sum = 0.0;
  for (int i = 0; i < c.chunks; ++i) sum += terms[i];
  const double log_sum_exp = static_cast<double>(max) + functions::log(sum);
  if (pass == Pass::kRaw || pass == Pass::kOnly) {
    state = {};
    state.finite = finite;
    state.raw_log_sum_exp = log_sum_exp;
    const float* const x = c.logits + row * c.stride;
    for (int i = 0; i < options.ids; ++i) {
      const int at = options.lists_at + options.top_logprobs + i;
      c.list_tokens[at] = c.words[options.ids_at + i];
      c.list_logprobs[at] = static_cast<double>(x[c.list_tokens[at]]) - log_sum_exp;
    }
    if (pass == Pass::kRaw) return;
  }
  state.max = max, state.argmax = argmax, state.sum = sum, state.log_sum_exp = log_sum_exp;
  state.filtered_log_sum_exp = log_sum_exp;
  state.temperature = pass == Pass::kTempered && options.temperature > 0 ? options.temperature : 1.0f;
  state.greedy = options.temperature == 0 || pass == Pass::kGreedyAfterAll;
  // Everything banned, or a temperature so small that the best logit overflows: then it is greedy in all but
  // name.
  const bool overflow = max == infinity() || max == -infinity();
  if (pass == Pass::kTempered && !state.greedy && overflow) state.greedy = 2;
  state.empty = max == -infinity();
}

// ---- penalties ----

// Grid: a block a row. Tokens of a history differ from each other; biases and bans are taken one after the
// other.
__global__ void __launch_bounds__(kThreads) adjust_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const DeviceRow& o = c.options[row];
  float* const x = c.logits + row * c.stride;
  Original* const originals = c.originals + o.originals_at;
  const auto set = [&](int at, int token, float value) {
    originals[at] = {token, x[token]};
    x[token] = value > FLT_MAX ? FLT_MAX : value;
  };
  for (int i = thread; i < o.history; i += kThreads) {
    const int32_t* const count = c.words + o.history_at + 3 * i;
    float value = x[count[0]];
    value = value > 0 ? value / o.repetition : value * o.repetition;
    if (count[2] > 0) {
      value = value - o.frequency * static_cast<float>(count[2]);
      value = value - o.presence;
    }
    set(i, count[0], value);
  }
  __syncthreads();  // penalties come before biases
  if (thread != 0) return;
  for (int i = 0; i < o.bias; ++i) {
    const int32_t* const bias = c.words + o.bias_at + 2 * i;
    set(o.history + i, bias[0], x[bias[0]] + from_bits(static_cast<uint32_t>(bias[1])));
  }
  for (int i = 0; i < o.banned; ++i) set(o.history + o.bias + i, c.words[o.banned_at + i], -infinity());
}

// ---- order and filters ----

// Larger key: earlier in the order (larger value, then lower id). 0 is below every token's key.
__device__ __forceinline__ uint64_t key_of(float value, int token) {
  const uint32_t bits = to_bits(value + 0.0f);  // -0 and 0 are a tie
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<uint32_t>(token));
}
__device__ __forceinline__ int token_of(uint64_t key) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key));
}

struct OrderShared {
  int histogram[256];
  uint64_t prefix;
  int left, count, kept, again;
};

struct Ordering {
  const float* x;
  int vocabulary;
  float temperature;
  uint64_t* keys;
  OrderShared& shared;

  __device__ uint64_t key(int token) const { return key_of(x[token] / temperature, token); }
  __device__ float value(int place) const { return x[token_of(keys[place])] / temperature; }
};

// How many tokens have keys of at least `least`. All threads; all get the count.
__device__ int count_from(const Ordering& o, uint64_t least) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) o.shared.count = 0;
  __syncthreads();  // the counter is 0
  int mine = 0;
  for (int i = thread; i < o.vocabulary; i += kThreads) mine += o.key(i) >= least ? 1 : 0;
  atomicAdd(&o.shared.count, mine);
  __syncthreads();  // all have added
  const int count = o.shared.count;
  __syncthreads();  // all have read
  return count;
}

// The count-th largest key, 1 <= count <= V: eight bits at a time from the top.
__device__ uint64_t find_key(const Ordering& o, int count) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) o.shared.prefix = 0, o.shared.left = count;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int i = thread; i < 256; i += kThreads) o.shared.histogram[i] = 0;
    __syncthreads();  // the histogram is empty, the prefix there
    const uint64_t prefix = o.shared.prefix;
    for (int i = thread; i < o.vocabulary; i += kThreads) {
      const uint64_t key = o.key(i);
      if (shift == 56 || key >> (shift + 8) == prefix) atomicAdd(&o.shared.histogram[key >> shift & 255], 1);
    }
    __syncthreads();  // the histogram is whole
    if (thread == 0) {
      int digit = 255;
      while (o.shared.histogram[digit] < o.shared.left) o.shared.left -= o.shared.histogram[digit--];
      o.shared.prefix = prefix << 8 | static_cast<uint64_t>(digit);
    }
    __syncthreads();  // the longer prefix is there
  }
  const uint64_t found = o.shared.prefix;
  __syncthreads();  // all have read
  return found;
}

// keys[0, count) = the tokens from `least` up, in order; returns how many.
__device__ int put_in_order(const Ordering& o, uint64_t least) {
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) o.shared.count = 0;
  __syncthreads();  // the counter is 0
  for (int i = thread; i < o.vocabulary; i += kThreads) {
    const uint64_t key = o.key(i);
    if (key >= least) o.keys[atomicAdd(&o.shared.count, 1)] = key;
  }
  __syncthreads();  // all keys are there, in any order
  const int count = o.shared.count;
  int size = 1;
  while (size < count) size *= 2;
  for (int i = count + thread; i < size; i += kThreads) o.keys[i] = 0;
  // Bitonic sort, largest first: a network, so its result does not depend on how the keys arrived.
  for (int width = 2; width <= size; width *= 2) {
    for (int distance = width / 2; distance > 0; distance /= 2) {
      __syncthreads();  // the stage before is complete
      for (int i = thread; i < size; i += kThreads) {
        const int other = i ^ distance;
        if (other < i) continue;
        const uint64_t a = o.keys[i], b = o.keys[other];
        if ((a < b) == ((i & width) == 0)) o.keys[i] = b, o.keys[other] = a;
      }
    }
  }
  __syncthreads();  // the order is there
  return count;
}

__device__ int put_first_in_order(const Ordering& o, int count) {
  const int there = count_from(o, key_of(-FLT_MAX, o.vocabulary));  // -infinity never is one
  count = count < there ? count : there;
  return count == 0 ? 0 : put_in_order(o, find_key(o, count));
}

// The raw log probabilities of the most likely tokens. Grid: a block a row.
__global__ void __launch_bounds__(kThreads) list_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.x);
  const DeviceRow& options = c.options[row];
  if (options.top_logprobs == 0 || c.state[row].finite == 0) return;
  const Ordering o{c.logits + row * c.stride, c.vocabulary, 1.0f,
                   c.keys + int64_t{options.candidates} * c.key_stride, *dynamic_shared<OrderShared>()};
  const int count = put_first_in_order(o, options.top_logprobs);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    c.list_tokens[options.lists_at + i] = token_of(o.keys[i]);
    c.list_logprobs[options.lists_at + i] = static_cast<double>(o.value(i)) - c.state[row].raw_log_sum_exp;
  }
}

__device__ __forceinline__ double weight(const Ordering& o, const RowState& state, int place) {
  return functions::exp(static_cast<double>(o.value(place)) - static_cast<double>(state.max));
}

// top-k, then top-p over what is left, then min-p over what is left. Grid: a block a row.
__global__ void __launch_bounds__(kThreads, 4) filter_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const DeviceRow& options = c.options[row];
  RowState& state = c.state[row];
  const bool top_k = options.top_k > 0 && options.top_k < c.vocabulary;
  if (state.finite == 0 || state.greedy != 0 || !(top_k || options.top_p < 1 || options.min_p > 0)) return;
  auto& shared = *dynamic_shared<OrderShared>();
  const Ordering o{c.logits + row * c.stride, c.vocabulary, state.temperature,
                   c.keys + int64_t{options.candidates} * c.key_stride, shared};
  int kept;
  if (top_k) {
    kept = put_first_in_order(o, options.top_k);
    if (thread == 0) {
      shared.kept = kept;
      if (options.top_p < 1) {
        double total = 0.0, cumulative = 0.0;
        for (int i = 0; i < kept; ++i) total += weight(o, state, i);
        int left = 0;  // kept while the probability before it is below top_p
        do cumulative += weight(o, state, left++);
        while (left < kept && cumulative < static_cast<double>(options.top_p) * total);
        shared.kept = left;
      }
    }
  } else if (options.top_p < 1) {
    const double limit = static_cast<double>(options.top_p) * state.sum;
    for (int64_t count = kFirstNucleus;; count *= 8) {
      const int sorted = put_first_in_order(o, static_cast<int>(count < c.vocabulary ? count : c.vocabulary));
      if (thread == 0) {
        double cumulative = 0.0;
        int left = 0;
        while (left < sorted) {
          cumulative += weight(o, state, left++);
          if (cumulative >= limit) break;
        }
        shared.kept = left;
        shared.again = cumulative < limit && sorted == count;
      }
      __syncthreads();  // thread 0 has decided
      const bool again = shared.again != 0;
      __syncthreads();  // all know it
      if (!again) break;
    }
  } else {  // a little below the cut, which is then made exactly
    const float cut = state.max + static_cast<float>(functions::log(static_cast<double>(options.min_p)));
    const float low = cut - (1e-3f + 1e-6f * fabsf(cut));
    kept = put_in_order(o, key_of(low > -FLT_MAX ? low : -FLT_MAX, c.vocabulary));
    if (thread == 0) shared.kept = kept;
  }
  if (thread != 0) return;
  kept = shared.kept;
  // min-p is a share of the largest probability, so the sum cancels.
  while (options.min_p > 0 && kept > 1 && weight(o, state, kept - 1) < static_cast<double>(options.min_p))
    --kept;
  double sum = 0.0;
  for (int i = 0; i < kept; ++i) sum += weight(o, state, i);
  state.filtered = 1;
  state.kept = kept;
  state.filtered_log_sum_exp = static_cast<double>(state.max) + functions::log(sum);
}

// ---- the draw ----

// The exponential race: the largest value - log(-log u) is a draw from softmax(values); every token has a u
// of its own.
__device__ double race_score(const DeviceRow& o, float value, int token) {
  const auto words = functions::philox4x32({static_cast<uint32_t>(token) >> 2, o.position, o.sample_index, 0},
                                           {o.seed_low, o.seed_high});
  const double u = (static_cast<double>(words[static_cast<size_t>(token & 3)]) + 0.5) * 0x1p-32;
  return static_cast<double>(value) - functions::log(-functions::log(u));
}

__device__ __forceinline__ bool before(const Racer& a, const Racer& b) {
  return a.score > b.score || (a.score == b.score && a.token < b.token);
}

struct RaceShared {
  Racer best[kThreads];
};

// The block's best racer; thread 0 gets it.
__device__ Racer best_of_block(RaceShared& shared, Racer mine) {
  const int thread = static_cast<int>(threadIdx.x);
  shared.best[thread] = mine;
  for (int width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();  // the halves before are compared
    if (thread < width && before(shared.best[thread + width], shared.best[thread]))
      shared.best[thread] = shared.best[thread + width];
  }
  return shared.best[0];
}

// Rows that are drawn from all tokens. Grid: chunks by rows.
__global__ void __launch_bounds__(kThreads) race_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x);
  const DeviceRow& options = c.options[row];
  const RowState& state = c.state[row];
  if (state.finite == 0 || state.greedy != 0 || state.filtered != 0 || options.chosen >= 0) return;
  const int first = static_cast<int>(blockIdx.x) * kLogitChunk;
  const int end = first + kLogitChunk < c.vocabulary ? first + kLogitChunk : c.vocabulary;
  const float* const x = c.logits + row * c.stride;
  Racer best{-static_cast<double>(infinity()), c.vocabulary};
  for (int i = first + thread; i < end; i += kThreads) {
    const Racer racer{race_score(options, x[i] / state.temperature, i), i};
    if (before(racer, best)) best = racer;
  }
  best = best_of_block(*dynamic_shared<RaceShared>(), best);
  if (thread == 0) c.racers[row * c.chunks + static_cast<int>(blockIdx.x)] = best;
}

__device__ float raw_logit(const SamplingCall& c, const DeviceRow& o, int row, int token) {
  const Original* const originals = c.originals + o.originals_at;
  for (int i = 0; i < o.history + o.bias + o.banned; ++i)
    if (originals[i].token == token) return originals[i].value;  // the first entry is the oldest
  return c.logits[row * c.stride + token];
}

// The token and its log probabilities. Grid: a block a row.
__global__ void __launch_bounds__(kThreads) finish_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const DeviceRow& o = c.options[row];
  const RowState& state = c.state[row];
  DeviceResult& result = c.results[row];
  if (state.finite == 0 || state.empty != 0) {
    const int all_banned = state.finite != 0 ? 1 : 0;
    if (thread == 0) result = {-1, state.finite, all_banned, 0, 0, 0.0, 0.0, 0.0}, c.sampled[row] = -1;
    return;
  }
  const float* const x = c.logits + row * c.stride;
  const uint64_t* const keys = c.keys + int64_t{o.candidates} * c.key_stride;
  Racer best{-static_cast<double>(infinity()), c.vocabulary};
  if (state.filtered != 0) {
    for (int i = thread; i < state.kept; i += kThreads) {
      const int token = token_of(keys[i]);
      const Racer racer{race_score(o, x[token] / state.temperature, token), token};
      if (before(racer, best)) best = racer;
    }
  } else if (state.greedy == 0 && o.chosen < 0) {
    for (int i = thread; i < c.chunks; i += kThreads)
      if (before(c.racers[row * c.chunks + i], best)) best = c.racers[row * c.chunks + i];
  }
  best = best_of_block(*dynamic_shared<RaceShared>(), best);
  if (thread != 0) return;
  const int token = o.chosen >= 0 ? o.chosen : state.greedy != 0 ? state.argmax : best.token;
  int listed = 0;
  if (o.top_logprobs > 0) listed = o.top_logprobs;  // finite logits: there are always that many
  result = {token, 1, 0, listed, 0, 0.0, 0.0, 0.0};
  c.sampled[row] = token;
  if (o.logprobs == 0) return;
  const double value = static_cast<double>(x[token] / state.temperature);
  result.logprob = static_cast<double>(raw_logit(c, o, row, token)) - state.raw_log_sum_exp;
  result.temperature_logprob = value - state.log_sum_exp;
  result.sampling_logprob = value - state.filtered_log_sum_exp;
  const double nothing = -static_cast<double>(infinity());
  if (state.greedy != 0) {
    result.sampling_logprob = token == state.argmax ? 0.0 : nothing;
  } else if (state.filtered != 0) {
    const uint64_t key = key_of(x[token] / state.temperature, token);
    if (key < keys[state.kept - 1])
      result.sampling_logprob = nothing;  // the kept ones are the first of the order
  }
}

// What the filters left. Behind finish_kernel, which sets the count to 0. Grid: a block a row.
__global__ void __launch_bounds__(kThreads) kept_kernel(const SamplingCall c) {
  begin_kernel();
  const int row = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const DeviceRow& o = c.options[row];
  const RowState& state = c.state[row];
  if (o.kept_at < 0 || state.finite == 0 || state.empty != 0) return;
  const uint64_t* const keys = c.keys + int64_t{o.candidates} * c.key_stride;
  const int count = state.greedy != 0 ? 1 : state.kept;
  for (int i = thread; i < count; i += kThreads)
    c.kept_ids[o.kept_at + i] = state.greedy != 0 ? state.argmax : token_of(keys[i]);
  if (thread == 0) c.results[row].kept_count = count;
}

}  // namespace

// ---- launchers ----

void sample(const SamplingCall& c, const SamplingNeeds& needs, Stream& stream) {
  const double logits = static_cast<double>(c.rows) * c.vocabulary;
  const dim3 chunks(static_cast<unsigned>(c.chunks), static_cast<unsigned>(c.rows));
  const dim3 rows(static_cast<unsigned>(c.rows));
  const auto run = [&](const char* name, dim3 grid, int threads, size_t shared, double bytes, double flops,
                       auto kernel, auto... arguments) {
    launch({.name = name,
            .grid = grid,
            .block = dim3(static_cast<unsigned>(threads)),
            .shared_bytes = shared,
            .stream = stream,
            .bytes = bytes,
            .flops = flops},
           kernel, arguments...);
  };
  const auto reduce = [&](Pass pass) {
    const double moved = pass == Pass::kGreedyAfterAll ? 0.0 : logits;
    run("chunk_stats", chunks, kThreads, sizeof(StatsShared), 8 * moved, 30 * moved, chunk_stats_kernel, c,
        pass);
    run("totals", rows, 32, static_cast<size_t>(c.chunks) * sizeof(double), 0, 0, totals_kernel, c, pass);
  };
  const bool once = !needs.adjusted && !needs.drawn;
  reduce(once ? Pass::kOnly : Pass::kRaw);
  if (needs.lists && needs.order)
    run("list", rows, kThreads, sizeof(OrderShared), 40 * logits, 0, list_kernel, c);
  if (!once) {
    if (needs.adjusted) run("adjust", rows, kThreads, 0, 0, 0, adjust_kernel, c);
    reduce(Pass::kTempered);
  }
  if (needs.drawn) {
    reduce(Pass::kGreedyAfterAll);
    if (needs.order) run("filter", rows, kThreads, sizeof(OrderShared), 40 * logits, 0, filter_kernel, c);
    run("race", chunks, kThreads, sizeof(RaceShared), 4 * logits, 150 * logits, race_kernel, c);
  }
  run("finish", rows, kThreads, sizeof(RaceShared), 0, 0, finish_kernel, c);
  if (needs.kept) run("kept", rows, kThreads, 0, 0, 0, kept_kernel, c);
}

}  // namespace lockstep::cuda
