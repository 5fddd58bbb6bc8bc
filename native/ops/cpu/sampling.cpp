// The rules of sampling: penalties, temperature, filters, the draw, and the three log probabilities. The
// passes over the logits are kernels/softmax.h's; what remains here is scalar, in double, with base/math's
// exp and log.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <limits>

#include "base/math.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/cpu_ops.h"

namespace lockstep {
namespace {

constexpr int kRacePiece = 256;  // tokens between two looks at the best score
// Tokens sorted at first for top-p; eight times as many in each further try.
constexpr int kFirstNucleus = 64;

// The uniform numbers of the four tokens around `token` (from token & ~3 on) in the draw: Philox with the
// seed as key, four tokens to a counter.
std::array<uint32_t, 4> random_words(const SampleRow& row, int32_t token) {
  return philox4x32({static_cast<uint32_t>(token) >> 2, row.position, row.sample_index, 0},
                    {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
}

uint32_t random_word(const SampleRow& row, int32_t token) {
  return random_words(row, token)[static_cast<size_t>(token & 3)];
}

// The exponential race: the token with the largest value - log(-log u) is a draw from softmax(values). Each
// token has a u of its own, so the order of looking at tokens does not matter, nor who else is looked at.
double race_score(float value, uint32_t word) {
  const double u = (static_cast<double>(word) + 0.5) * 0x1p-32;
  return static_cast<double>(value) - det_log(-det_log(u));
}

}  // namespace

void CpuOps::sample(std::span<SampleResult> results, Matrix<float> logits, std::span<const SampleRow> rows) {
  sampler_.sample(results, logits, rows);
}

void sampling_distribution(const std::string& path, std::span<double> probabilities, std::span<float> logits,
                           const SampleRow& row) {
  ThreadPool pool(1);
  Sampler(find_kernels(path), pool).distribution(probabilities, logits, row);
}

Sampler::Sampler(const KernelTable& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), scratch_(static_cast<size_t>(pool.threads())) {}

void Sampler::prepare(int32_t vocabulary, std::span<const SampleRow> rows) {
  size_t changes = 0;
  for (const SampleRow& row : rows) {
    check_sample_row(row, vocabulary);
    changes = std::max(changes, row.history.size() + row.bias.size() + row.banned.size());
  }
  for (Scratch& scratch : scratch_) scratch.originals.reserve(changes);
  if (vocabulary <= vocabulary_) return;
  const size_t chunks = static_cast<size_t>(chunks_of(vocabulary));
  for (Scratch& scratch : scratch_) {
    scratch.stats.resize(chunks);
    scratch.counts.resize(chunks);
    scratch.races.resize(chunks);
    scratch.maxima.resize(chunks * (kLogitChunk / kLogitGroup));
    scratch.candidates = std::make_unique_for_overwrite<Candidate[]>(chunks * kLogitChunk);
    scratch.racers = std::make_unique_for_overwrite<Candidate[]>(kRacePiece);
    scratch.words = std::make_unique_for_overwrite<uint32_t[]>(kLogitChunk + 16);
  }
  vocabulary_ = vocabulary;
}

void Sampler::sample(std::span<SampleResult> results, Matrix<float> logits, std::span<const SampleRow> rows) {
  check_shapes(results.size() == rows.size() && logits.rows == std::ssize(rows) && logits.cols > 0, "sample",
               "results [rows], logits [rows, V]");
  const int32_t vocabulary = static_cast<int32_t>(logits.cols);
  prepare(vocabulary, rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    results[i] = {};
    results[i].top.reserve(static_cast<size_t>(std::clamp(rows[i].top_logprobs, 0, vocabulary)));
    results[i].token_id_logprobs.reserve(rows[i].token_ids.size());
    results[i].kept_token_ids.reserve(static_cast<size_t>(rows[i].most_kept(vocabulary)));
  }
  const auto one = [&](int64_t i, int worker, bool spread) {
    const size_t index = static_cast<size_t>(i), w = static_cast<size_t>(worker);
    sample_row(results[index], {logits.row(i), vocabulary, rows[index], scratch_[w], worker, spread});
  };
  if (std::ssize(rows) < pool_.threads()) {
    for (int64_t i = 0; i < std::ssize(rows); ++i) one(i, 0, true);
  } else {
    const double logits_in_all = static_cast<double>(logits.rows * logits.cols);
    pool_.for_each(std::ssize(rows), {.flops = 30 * logits_in_all},
                   [&](int64_t i, int worker) { one(i, worker, false); });
  }
  // Room for a whole vocabulary was address space so far; most of the time little of it was used.
  for (SampleResult& result : results) result.kept_token_ids.shrink_to_fit();
}

void Sampler::sample_row(SampleResult& result, const Row& row) {
  const SampleRow& options = row.options;
  const bool lists = options.top_logprobs > 0 || !options.token_ids.empty();
  const Totals raw = reduce(row, 1.0f, options.logprobs || lists);
  result.finite = raw.finite;
  if (!raw.finite) return;
  if (lists) list_logprobs(result, row, raw.log_sum_exp);

  adjust(row);
  Distribution d;
  if (!distribution_of(d, row, options.logprobs)) {
    result = {};
    result.all_banned = true;
    return;
  }
  if (options.kept_token_ids) list_kept(result.kept_token_ids, d, row);
  const int32_t token = options.chosen >= 0 ? options.chosen : draw(d, row);
  result.token = token;
  if (!options.logprobs) return;

  const float value = row.logits[token] / d.temperature;
  result.logprob = static_cast<double>(raw_logit(row, token)) - raw.log_sum_exp;
  result.temperature_logprob = static_cast<double>(value) - d.totals.log_sum_exp;
  result.sampling_logprob = static_cast<double>(value) - d.log_sum_exp;
  const Candidate* const kept = row.scratch.candidates.get();
  if (d.greedy) {
    result.sampling_logprob = token == d.totals.argmax ? 0.0 : -INFINITY;
  } else if (d.filtered &&
             std::none_of(kept, kept + d.kept, [&](const Candidate& c) { return c.token == token; })) {
    result.sampling_logprob = -INFINITY;
  }
}

void Sampler::distribution(std::span<double> probabilities, std::span<float> logits,
                           const SampleRow& options) {
  check_shapes(probabilities.size() == logits.size() && !logits.empty(), "sampling_distribution",
               "probabilities, logits [V]");
  const int32_t vocabulary = static_cast<int32_t>(logits.size());
  prepare(vocabulary, {&options, 1});
  const Row row{logits.data(), vocabulary, options, scratch_[0], 0, true};
  const bool finite = reduce(row, 1.0f, false).finite;
  adjust(row);
  Distribution d;
  if (!finite || !distribution_of(d, row, true)) {
    std::ranges::fill(probabilities, std::numeric_limits<double>::quiet_NaN());
    return;
  }
  std::ranges::fill(probabilities, 0.0);
  const auto probability = [&](float value) { return det_exp(static_cast<double>(value) - d.log_sum_exp); };
  if (d.greedy) {
    probabilities[static_cast<size_t>(d.totals.argmax)] = 1.0;
  } else if (d.filtered) {
    for (int i = 0; i < d.kept; ++i) {
      const Candidate& kept = row.scratch.candidates[static_cast<size_t>(i)];
      probabilities[static_cast<size_t>(kept.token)] = probability(kept.value);
    }
  } else {
    for (int32_t i = 0; i < vocabulary; ++i) {
      probabilities[static_cast<size_t>(i)] = probability(row.logits[i] / d.temperature);
    }
  }
}

// ---- the rules ----

void Sampler::list_logprobs(SampleResult& result, const Row& row, double log_sum_exp) {
  for (const int32_t token : row.options.token_ids) {
    result.token_id_logprobs.push_back(static_cast<double>(row.logits[token]) - log_sum_exp);
  }
  if (row.options.top_logprobs <= 0) return;
  const int count = select(row, 1.0f, std::min(row.options.top_logprobs, row.vocabulary));
  for (int i = 0; i < count; ++i) {
    const Candidate& candidate = row.scratch.candidates[static_cast<size_t>(i)];
    result.top.push_back({candidate.token, static_cast<double>(candidate.value) - log_sum_exp});
  }
}

void Sampler::list_kept(std::vector<int32_t>& ids, const Distribution& d, const Row& row) {
  if (d.greedy) return ids.push_back(d.totals.argmax);
  const Candidate* const kept = row.scratch.candidates.get();
  for (int i = 0; i < d.kept; ++i) ids.push_back(kept[i].token);
  std::sort(ids.begin(), ids.end());
}

// Penalties (repetition as transformers, the others as vLLM), bias, banned tokens; what was there is kept.
void Sampler::adjust(const Row& row) {
  const SampleRow& o = row.options;
  std::vector<Candidate>& originals = row.scratch.originals;
  originals.clear();
  const auto set = [&](int32_t token, float value) {
    originals.push_back({row.logits[token], token});
    row.logits[token] = std::min(value, FLT_MAX);
  };
  if (o.repetition_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0) {
    for (const TokenCount& count : o.history) {
      float value = row.logits[count.token];
      value = value > 0 ? value / o.repetition_penalty : value * o.repetition_penalty;
      if (count.output_count > 0) {
        value -= o.frequency_penalty * static_cast<float>(count.output_count);
        value -= o.presence_penalty;
      }
      set(count.token, value);
    }
  }
  for (const TokenBias& bias : o.bias) set(bias.token, row.logits[bias.token] + bias.bias);
  for (const int32_t token : o.banned) set(token, -INFINITY);
}

float Sampler::raw_logit(const Row& row, int32_t token) const {
  for (const Candidate& original : row.scratch.originals) {
    if (original.token == token) return original.value;  // the first entry is the oldest
  }
  return row.logits[token];
}

// False where no token is left to take. The log-sum-exps are filled where they are asked for or needed.
bool Sampler::distribution_of(Distribution& d, const Row& row, bool want_sum) {
  const SampleRow& o = row.options;
  d = {};
  d.temperature = o.temperature > 0 ? o.temperature : 1.0f;
  d.greedy = o.temperature == 0;
  const bool nucleus_of_all = o.top_p < 1 && !o.limits_k(row.vocabulary);
  want_sum = want_sum || (!d.greedy && nucleus_of_all);
  d.totals = reduce(row, d.temperature, want_sum);
  if (!d.greedy && std::isinf(d.totals.max)) {
    // Everything banned, or a temperature so small that the best logit overflows: greedy in all but name.
    d.temperature = 1.0f;
    d.greedy = true;
    d.totals = reduce(row, 1.0f, want_sum);
  }
  if (d.totals.max == -INFINITY) return false;
  d.log_sum_exp = d.totals.log_sum_exp;
  if (!d.greedy) filter(d, row);
  return true;
}

// top-k, then top-p over what is left, then min-p over what is left.
void Sampler::filter(Distribution& d, const Row& row) {
  const SampleRow& o = row.options;
  const Candidate* const kept = row.scratch.candidates.get();
  const auto weight = [&](int i) {
    return det_exp(static_cast<double>(kept[i].value) - static_cast<double>(d.totals.max));
  };
  const bool top_k = o.limits_k(row.vocabulary);
  d.filtered = o.filtered(row.vocabulary);
  if (!d.filtered) return;

  if (top_k) {
    d.kept = select(row, d.temperature, o.top_k);
    if (o.top_p < 1) {
      double total = 0.0, cumulative = 0.0;
      for (int i = 0; i < d.kept; ++i) total += weight(i);
      int left = 0;  // kept while the probability before it is below top_p
      do cumulative += weight(left++);
      while (left < d.kept && cumulative < static_cast<double>(o.top_p) * total);
      d.kept = left;
    }
  } else if (o.top_p < 1) {
    d.kept = nucleus(row, d.temperature, d.totals);
  } else {
    // A little below the cut, which is then made exactly.
    const float cut = d.totals.max + static_cast<float>(det_log(o.min_p));
    d.kept = collect(row, d.temperature, cut - (1e-3f + 1e-6f * std::abs(cut)));
    std::sort(row.scratch.candidates.get(), row.scratch.candidates.get() + d.kept, before<Candidate>);
  }
  // min-p is a share of the largest probability, so the sum cancels.
  while (o.min_p > 0 && d.kept > 1 && weight(d.kept - 1) < static_cast<double>(o.min_p)) --d.kept;

  double sum = 0.0;
  for (int i = 0; i < d.kept; ++i) sum += weight(i);
  d.log_sum_exp = static_cast<double>(d.totals.max) + det_log(sum);
}

// Candidates = the most likely tokens, each kept while the probability before it is below top_p; one at least.
int Sampler::nucleus(const Row& row, float temperature, const Totals& totals) {
  const double limit = static_cast<double>(row.options.top_p) * totals.sum;
  for (int64_t count = kFirstNucleus;; count *= 8) {
    const int sorted = select(row, temperature, static_cast<int>(std::min<int64_t>(count, row.vocabulary)));
    double cumulative = 0.0;
    for (int i = 0; i < sorted; ++i) {
      const float value = row.scratch.candidates[static_cast<size_t>(i)].value;
      cumulative += det_exp(static_cast<double>(value) - static_cast<double>(totals.max));
      if (cumulative >= limit) return i + 1;
    }
    if (sorted < count) return sorted;
  }
}

// ---- the draw ----

int32_t Sampler::draw(const Distribution& d, const Row& row) {
  if (d.greedy) return d.totals.argmax;
  if (d.filtered) {
    Score best{-INFINITY, row.vocabulary};
    for (int i = 0; i < d.kept; ++i) {
      const Candidate& kept = row.scratch.candidates[static_cast<size_t>(i)];
      const Score score{race_score(kept.value, random_word(row.options, kept.token)), kept.token};
      if (before(score, best)) best = score;
    }
    return best.token;
  }
  // The likeliest token's score is a lower bound of the best: most tokens cannot reach it and are skipped.
  const int32_t likeliest = d.totals.argmax;
  Score best{race_score(d.totals.max, random_word(row.options, likeliest)), likeliest};
  std::vector<Score>& races = row.scratch.races;
  for_chunks(row, [&](size_t chunk, int32_t first, int count, Scratch& scratch) {
    races[chunk] = race(row, d.temperature, first, count, best, scratch);
  });
  for (int32_t chunk = 0; chunk < chunks_of(row.vocabulary); ++chunk) {
    if (before(races[static_cast<size_t>(chunk)], best)) best = races[static_cast<size_t>(chunk)];
  }
  return best.token;
}

// The best of `best` and the tokens of a chunk. The filter may pass too many tokens, never too few.
Sampler::Score Sampler::race(const Row& row, float temperature, int32_t first, int count, Score best,
                             Scratch& scratch) {
  uint32_t* const words = scratch.words.get();
  for (int i = 0; i < count; i += 4) {  // chunks start at multiples of 4
    const auto four = random_words(row.options, first + i);
    std::copy(four.begin(), four.end(), words + i);
  }
  for (int piece = 0; piece < count; piece += kRacePiece) {
    const float slack = 1e-4f + 2.5e-7f * static_cast<float>(std::abs(best.value));
    Candidate* const racers = scratch.racers.get();
    const int passed = kernels_.race_filter(racers, row.logits + first + piece, words + piece,
                                            std::min(kRacePiece, count - piece), temperature,
                                            static_cast<float>(best.value), slack, first + piece);
    for (int i = 0; i < passed; ++i) {
      const Score score{race_score(racers[i].value, words[racers[i].token - first]), racers[i].token};
      if (before(score, best)) best = score;
    }
  }
  return best;
}

}  // namespace lockstep
