#include "ops/cuda/sampler.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

// Hands out arrays one after the other; without memory it only adds up.
struct Carver {
  std::byte* memory;
  size_t used = 0;
  template <class T>
  T* take(size_t count) {
    used = (used + 15) / 16 * 16;
    T* const result = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += count * sizeof(T);
    return result;
  }
};

// Whether the row's kept tokens must be put in order.
bool needs_order(const SampleRow& row, int32_t vocabulary) {
  if (row.top_logprobs > 0) return true;
  return row.temperature > 0 && row.filtered(vocabulary);
}

SamplingCall call_of_size(int32_t rows, int32_t vocabulary) {
  SamplingCall call = {};
  call.rows = rows, call.vocabulary = vocabulary;
  call.chunks = (vocabulary + kLogitChunk - 1) / kLogitChunk;
  call.key_stride = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(vocabulary)));
  return call;
}

// Lays the call's workspace out in `memory`; returns the bytes it takes.
size_t carve_work(SamplingCall& call, std::byte* memory, size_t originals) {
  const size_t rows = static_cast<size_t>(call.rows), chunks = static_cast<size_t>(call.chunks);
  Carver carver{memory};
  call.state = carver.take<RowState>(rows);
  call.stats = carver.take<ChunkStats>(rows * chunks);
  call.racers = carver.take<Racer>(rows * chunks);
  call.originals = carver.take<Original>(originals);
  return carver.used;
}

// The same for its results, on the device or where the host reads them.
size_t carve_output(SamplingCall& call, std::byte* memory, size_t lists) {
  Carver carver{memory};
  call.results = carver.take<DeviceResult>(static_cast<size_t>(call.rows));
  call.list_logprobs = carver.take<double>(lists);
  call.list_tokens = carver.take<int32_t>(lists);
  return carver.used;
}

SampleResult read_result(const SamplingCall& call, const DeviceRow& row, const DeviceResult& from) {
  SampleResult result;
  result.finite = from.finite != 0;
  result.all_banned = from.all_banned != 0;
  if (!result.finite || result.all_banned) return result;
  result.token = from.token;
  result.logprob = from.logprob;
  result.temperature_logprob = from.temperature_logprob;
  result.sampling_logprob = from.sampling_logprob;
  const int32_t* const tokens = call.list_tokens + row.lists_at;
  const double* const logprobs = call.list_logprobs + row.lists_at;
  for (int32_t j = 0; j < from.top_count; ++j) result.top.push_back({tokens[j], logprobs[j]});
  result.token_id_logprobs.assign(logprobs + row.top_logprobs, logprobs + row.top_logprobs + row.ids);
  if (row.kept_at < 0) return result;
  const int32_t* const kept = call.kept_ids + row.kept_at;
  result.kept_token_ids.assign(kept, kept + from.kept_count);
  std::ranges::sort(result.kept_token_ids);
  return result;
}

size_t key_bytes(const SamplingCall& call, int32_t ordered) {
  return static_cast<size_t>(ordered) * static_cast<size_t>(call.key_stride) * sizeof(uint64_t);
}

}  // namespace

// With penalties over a whole context and the most likely tokens of the longest list that the API allows.
void Sampler::reserve(OpenSamples& samples, const StepLimits& limits) {
  constexpr size_t kLongestList = 1024;
  SamplingCall call = call_of_size(limits.logit_rows, limits.vocabulary);
  const size_t rows = static_cast<size_t>(limits.logit_rows);
  const size_t history = rows * static_cast<size_t>(std::min(limits.context, limits.vocabulary));
  const size_t input_bytes = rows * sizeof(DeviceRow) + history * sizeof(TokenCount);
  const size_t output_bytes = carve_output(call, nullptr, rows * kLongestList);
  samples.input_.reserve(input_bytes);
  input_device_.at_least(input_bytes);
  work_.at_least(carve_work(call, nullptr, history));
  keys_.at_least(key_bytes(call, limits.logit_rows));
  samples.output_.reserve(output_bytes);
  output_device_.at_least(output_bytes);
}

void Sampler::release() {
  for (Growing* own : {&input_device_, &work_, &keys_, &output_device_}) own->release();
}

size_t Sampler::device_bytes() const {
  return input_device_.size_bytes() + work_.size_bytes() + keys_.size_bytes() + output_device_.size_bytes();
}

void Sampler::sample(OpenSamples& samples, std::span<SampleResult> results, Matrix<float> logits,
                     std::span<const SampleRow> rows, int32_t* sampled, Stream& stream) {
  const int32_t vocabulary = static_cast<int32_t>(logits.cols), count = static_cast<int32_t>(rows.size());
  for (const SampleRow& row : rows) check_sample_row(row, vocabulary);
  if (rows.empty()) return;
  rows_.clear();
  words_.clear();
  int32_t originals = 0, lists = 0, ordered = 0, kept = 0;
  bool drawn = false;
  const auto append = [&](auto list) {  // of 32-bit words
    const int32_t at = static_cast<int32_t>(words_.size());
    const size_t size = list.size_bytes() / sizeof(int32_t);
    words_.resize(words_.size() + size);
    if (size > 0) std::memcpy(&words_[static_cast<size_t>(at)], list.data(), list.size_bytes());
    return at;
  };
  for (const SampleRow& row : rows) {
    const bool penalized =
        row.repetition_penalty != 1 || row.presence_penalty != 0 || row.frequency_penalty != 0;
    const auto history = penalized ? row.history : std::span<const TokenCount>();
    DeviceRow d = {};
    d.chosen = row.chosen, d.top_k = row.top_k, d.logprobs = row.logprobs;
    d.top_logprobs = std::clamp(row.top_logprobs, 0, vocabulary);
    d.temperature = row.temperature, d.top_p = row.top_p, d.min_p = row.min_p;
    d.repetition = row.repetition_penalty, d.presence = row.presence_penalty,
    d.frequency = row.frequency_penalty;
    d.seed_low = static_cast<uint32_t>(row.seed), d.seed_high = static_cast<uint32_t>(row.seed >> 32);
    d.sample_index = row.sample_index, d.position = row.position;
    d.history = static_cast<int32_t>(history.size()), d.history_at = append(history);
    d.bias = static_cast<int32_t>(row.bias.size()), d.bias_at = append(row.bias);
    d.banned = static_cast<int32_t>(row.banned.size()), d.banned_at = append(row.banned);
    d.ids = static_cast<int32_t>(row.token_ids.size()), d.ids_at = append(row.token_ids);
    d.originals_at = originals, originals += d.history + d.bias + d.banned;
    d.lists_at = lists, lists += d.top_logprobs + d.ids;
    d.candidates = needs_order(row, vocabulary) ? ordered++ : -1;
    d.kept_at = row.kept_token_ids ? kept : -1, kept += row.most_kept(vocabulary);
    drawn = drawn || row.temperature > 0;
    rows_.push_back(d);
  }

  SamplingCall call = call_of_size(count, vocabulary);
  call.logits = logits.data, call.stride = logits.stride;
  call.sampled = sampled;
  const size_t row_bytes = rows_.size() * sizeof(DeviceRow);
  const size_t input_bytes = row_bytes + words_.size() * sizeof(int32_t);
  const size_t originals_count = static_cast<size_t>(originals), list_count = static_cast<size_t>(lists);
  const size_t output_bytes = carve_output(call, nullptr, list_count);
  const size_t kept_bytes = static_cast<size_t>(kept) * sizeof(int32_t);
  if (!samples.input_.has_room(input_bytes) || !samples.output_.has_room(output_bytes) ||
      !samples.kept_.has_room(kept_bytes)) {
    stream.synchronize();
    samples.read();
  }
  std::byte* const host = samples.input_.take(input_bytes);
  std::byte* const output_host = samples.output_.take(output_bytes);
  auto* const kept_ids = reinterpret_cast<int32_t*>(samples.kept_.take(kept_bytes));
  samples.calls_.push_back({results, host, output_host, list_count, kept_ids});

  std::byte* const input = input_device_.at_least(input_bytes);
  std::memcpy(host, rows_.data(), row_bytes);
  if (!words_.empty()) std::memcpy(host + row_bytes, words_.data(), input_bytes - row_bytes);
  check(cudaMemcpyAsync(input, host, input_bytes, cudaMemcpyHostToDevice, stream.ahead()),
        "sending sampling options");
  call.options = reinterpret_cast<const DeviceRow*>(input);
  call.words = reinterpret_cast<const int32_t*>(input + row_bytes);

  carve_work(call, work_.at_least(carve_work(call, nullptr, originals_count)), originals_count);
  std::byte* const output = output_device_.at_least(output_bytes);
  carve_output(call, output, list_count);
  if (kept > 0) call.kept_ids = kept_ids;
  if (ordered > 0) call.keys = reinterpret_cast<uint64_t*>(keys_.at_least(key_bytes(call, ordered)));

  cuda::sample(
      call,
      {.lists = lists > 0, .order = ordered > 0, .adjusted = originals > 0, .drawn = drawn, .kept = kept > 0},
      stream);
  check(cudaMemcpyAsync(output_host, output, output_bytes, cudaMemcpyDeviceToHost, stream.get()),
        "reading samples");
}

void OpenSamples::read() {
  for (const auto& [results, input, output, lists, kept_ids] : calls_) {
    const auto* const rows = reinterpret_cast<const DeviceRow*>(input);
    SamplingCall call = {};
    call.rows = static_cast<int32_t>(results.size());
    call.kept_ids = kept_ids;
    carve_output(call, output, lists);
    for (size_t i = 0; i < results.size(); ++i) results[i] = read_result(call, rows[i], call.results[i]);
  }
  calls_.clear();
  input_.give_back();
  output_.give_back();
  kept_.give_back();
}

}  // namespace lockstep::cuda
