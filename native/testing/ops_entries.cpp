// Every verb of ops.h for JavaScript tests, per compute path and thread count:
//   ops.paths() -> names;  ops.create(path, threads) -> { linear(y, x, w, parts), ... } (one method a verb)
//   ops.samplingDistribution(path, logits, row);  ops.kernelExp(path, Float32Array);  ops.math(name,
//   Float64Array) ops.philox(counter, key);  ops.poolStress(threads, jobs)
// A matrix is { data, rows, cols, stride?, byteOffset? }; BF16 data may be any
// typed array (bits; any byte alignment), float data is a Float32Array. Results
// are written where the caller points. Main thread, synchronous.
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "base/error.h"
#include "base/math.h"
#include "ops/cpu/cpu_backend.h"
#include "ops/cpu/cpu_ops.h"
#include "ops/ops.h"
#include "testing/staging.h"
#include "testing/testing.h"

namespace lockstep::testing {
namespace {

using Info = Napi::CallbackInfo;

[[noreturn]] void refuse(const std::string& what) { throw Error("INVALID_ARGUMENT", what); }

// ---- JavaScript values to views ----

template <class T>
std::span<T> elements(const Napi::Value& value, size_t byte_offset = 0) {
  if (!value.IsTypedArray()) refuse("Expected a typed array");
  const auto array = value.As<Napi::TypedArray>();
  if (alignof(T) > 1 && (array.ElementSize() != sizeof(T) || byte_offset != 0)) {
    refuse("Expected a typed array of the element's size");
  }
  if (byte_offset > array.ByteLength()) refuse("byteOffset lies beyond the array");
  auto* const data = static_cast<std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset() + byte_offset;
  return {reinterpret_cast<T*>(data), (array.ByteLength() - byte_offset) / sizeof(T)};
}

double number(const Napi::Object& object, const char* key, double otherwise) {
  const Napi::Value value = object.Get(key);
  return value.IsUndefined() ? otherwise : value.ToNumber().DoubleValue();
}

int32_t integer(const Napi::Object& object, const char* key, int32_t otherwise = 0) {
  return static_cast<int32_t>(number(object, key, otherwise));
}

template <class T>
Matrix<T> matrix(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  const int64_t rows = integer(object, "rows"), cols = integer(object, "cols");
  const int64_t stride = static_cast<int64_t>(number(object, "stride", static_cast<double>(cols)));
  const auto data = elements<T>(object.Get("data"), static_cast<size_t>(number(object, "byteOffset", 0)));
  if (rows < 0 || cols < 0 || stride < cols || (rows > 0 && (rows - 1) * stride + cols > std::ssize(data))) {
    refuse("A matrix reaches beyond its array");
  }
  return {data.data(), rows, cols, stride};
}

KvLayer kv_layer(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  KvLayer layer;
  layer.num_blocks = integer(object, "numBlocks");
  layer.kv_heads = integer(object, "kvHeads");
  layer.head_dim = integer(object, "headDim");
  const auto k = elements<BFloat16>(object.Get("k")), v = elements<BFloat16>(object.Get("v"));
  const int64_t size = layer.num_blocks * kv_block_elements(layer.kv_heads, layer.head_dim);
  if (std::ssize(k) < size || std::ssize(v) < size) refuse("The cache is smaller than its shape");
  layer.k = k.data();
  layer.v = v.data();
  return layer;
}

std::vector<SequenceSlice> sequence_slices(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<SequenceSlice> slices;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto object = array.Get(i).As<Napi::Object>();
    slices.push_back({integer(object, "firstRow"), integer(object, "numTokens"),
                      integer(object, "startPosition"), elements<int32_t>(object.Get("blocks")).data()});
  }
  return slices;
}

// A SampleRow and the lists it points to.
struct OwnedRow {
  SampleRow row;
  std::vector<TokenCount> history;
  std::vector<TokenBias> bias;
  std::vector<int32_t> banned, token_ids;
};

// object[key] as tuples: [[a, b, ...], ...] or [a, ...].
void each_tuple(const Napi::Object& object, const char* key,
                const std::function<void(double, double, double)>& call) {
  const Napi::Value value = object.Get(key);
  if (value.IsUndefined()) return;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    double parts[3] = {};
    const Napi::Value entry = array.Get(i);
    if (entry.IsArray()) {
      const auto tuple = entry.As<Napi::Array>();
      for (uint32_t j = 0; j < 3 && j < tuple.Length(); ++j) parts[j] = tuple.Get(j).ToNumber().DoubleValue();
    } else {
      parts[0] = entry.ToNumber().DoubleValue();
    }
    call(parts[0], parts[1], parts[2]);
  }
}

std::unique_ptr<OwnedRow> sample_row(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  auto owned = std::make_unique<OwnedRow>();
  SampleRow& row = owned->row;
  row.chosen = integer(object, "chosen", -1);
  row.temperature = static_cast<float>(number(object, "temperature", 0));
  row.top_k = integer(object, "topK");
  row.top_p = static_cast<float>(number(object, "topP", 1));
  row.min_p = static_cast<float>(number(object, "minP", 0));
  row.repetition_penalty = static_cast<float>(number(object, "repetitionPenalty", 1));
  row.presence_penalty = static_cast<float>(number(object, "presencePenalty", 0));
  row.frequency_penalty = static_cast<float>(number(object, "frequencyPenalty", 0));
  row.seed = static_cast<uint64_t>(number(object, "seed", 0));
  row.sample_index = static_cast<uint32_t>(number(object, "sampleIndex", 0));
  row.position = static_cast<uint32_t>(number(object, "position", 0));
  row.logprobs = object.Get("logprobs").ToBoolean();
  row.top_logprobs = integer(object, "topLogprobs");
  row.kept_token_ids = object.Get("keptTokenIds").ToBoolean();
  each_tuple(object, "history", [&](double token, double in_prompt, double in_output) {
    owned->history.push_back(
        {static_cast<int32_t>(token), static_cast<int32_t>(in_prompt), static_cast<int32_t>(in_output)});
  });
  each_tuple(object, "bias", [&](double token, double bias, double) {
    owned->bias.push_back({static_cast<int32_t>(token), static_cast<float>(bias)});
  });
  const auto push_to = [](std::vector<int32_t>& list) {
    return [&list](double token, double, double) { list.push_back(static_cast<int32_t>(token)); };
  };
  each_tuple(object, "banned", push_to(owned->banned));
  each_tuple(object, "tokenIds", push_to(owned->token_ids));
  row.history = owned->history;
  row.bias = owned->bias;
  row.banned = owned->banned;
  row.token_ids = owned->token_ids;
  return owned;
}

Napi::Object sample_result(Napi::Env env, const SampleResult& result) {
  auto object = Napi::Object::New(env);
  object.Set("token", result.token);
  object.Set("finite", result.finite);
  object.Set("allBanned", result.all_banned);
  object.Set("logprob", result.logprob);
  object.Set("temperatureLogprob", result.temperature_logprob);
  object.Set("samplingLogprob", result.sampling_logprob);
  auto top = Napi::Array::New(env);
  for (const TokenLogprob& entry : result.top) {
    auto pair = Napi::Object::New(env);
    pair.Set("token", entry.token);
    pair.Set("logprob", entry.logprob);
    top.Set(top.Length(), pair);
  }
  object.Set("top", top);
  auto ids = Napi::Array::New(env);
  for (const double logprob : result.token_id_logprobs) ids.Set(ids.Length(), logprob);
  object.Set("tokenIdLogprobs", ids);
  auto kept = Napi::Array::New(env);
  for (const int32_t token : result.kept_token_ids) kept.Set(kept.Length(), token);
  object.Set("keptTokenIds", kept);
  return object;
}

// ---- verbs ----

void project_qkv(Ops& ops, Stage& stage, const Info& info) {
  const auto object = info[0].As<Napi::Object>();
  const auto sequences = sequence_slices(object.Get("sequences"));
  QkvProjection p;
  p.q = stage.matrix(matrix<BFloat16>(object.Get("q")));
  p.cache = stage.cache(kv_layer(object.Get("cache")));
  p.scratch = stage.matrix(matrix<BFloat16>(object.Get("scratch")));
  p.x = stage.matrix(matrix<BFloat16>(object.Get("x")));
  p.wq = stage.matrix(matrix<BFloat16>(object.Get("wq")));
  p.wk = stage.matrix(matrix<BFloat16>(object.Get("wk")));
  p.wv = stage.matrix(matrix<BFloat16>(object.Get("wv")));
  p.q_norm = stage.vector(elements<BFloat16>(object.Get("qNorm")));
  p.k_norm = stage.vector(elements<BFloat16>(object.Get("kNorm")));
  p.eps = static_cast<float>(number(object, "eps", 0));
  p.rope = stage.matrix(matrix<float>(object.Get("rope")));
  p.sequences = sequences;
  const std::vector<int32_t> tokens(static_cast<size_t>(p.x.rows));
  ops.begin_step({.tokens = tokens, .positions = {}, .sequences = sequences, .head_rows = {}});
  ops.project_qkv(p);
}

void attention(Ops& ops, Stage& stage, const Info& info) {
  const auto sequences = sequence_slices(info[3]);
  ops.begin_step({.tokens = {}, .positions = {}, .sequences = sequences, .head_rows = {}});
  ops.attention(stage.matrix(matrix<BFloat16>(info[0])), stage.matrix(matrix<BFloat16>(info[1])),
                stage.cache(kv_layer(info[2])), sequences);
}

Napi::Value sample(Ops& ops, Stage& stage, const Info& info) {
  const auto array = info[1].As<Napi::Array>();
  std::vector<std::unique_ptr<OwnedRow>> owned;
  std::vector<SampleRow> rows;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    owned.push_back(sample_row(array.Get(i)));
    rows.push_back(owned.back()->row);
  }
  std::vector<SampleResult> results(rows.size());
  ops.sample(results, stage.matrix(matrix<float>(info[0])), rows);
  ops.collect();
  auto list = Napi::Array::New(info.Env());
  for (const SampleResult& result : results) list.Set(list.Length(), sample_result(info.Env(), result));
  return list;
}

// What allocate() promises: zeroed memory of that size.
Napi::Value allocate(Ops& ops, Stage&, const Info& info) {
  const auto bytes = static_cast<size_t>(info[0].ToNumber().Int64Value());
  const auto buffer = ops.allocate(bytes);
  bool zeroed = buffer->size_bytes() == bytes;
  for (size_t i = 0; i < bytes; i += 4099) {
    std::byte value{1};
    ops.download(&value, buffer->data() + i, 1);
    zeroed = zeroed && value == std::byte{0};
  }
  return Napi::Boolean::New(info.Env(), zeroed);
}

// C++ exceptions become JavaScript errors with a `code`.
template <class Function>
Napi::Function method(Napi::Env env, const char* name, Function function) {
  return Napi::Function::New(
      env,
      [function](const Info& info) -> Napi::Value {
        try {
          if constexpr (std::is_void_v<decltype(function(info))>) {
            function(info);
            return info.Env().Undefined();
          } else {
            return function(info);
          }
        } catch (const Error& error) {
          auto js_error = Napi::Error::New(info.Env(), error.what());
          js_error.Set("code", error.code());
          throw js_error;
        }
      },
      name);
}

using Verb = void (*)(Ops&, Stage&, const Info&);
constexpr std::pair<const char*, Verb> kVerbs[] = {
    {"embed",
     [](Ops& ops, Stage& s, const Info& i) {
       const auto ids = elements<int32_t>(i[2]);
       ops.begin_step({.tokens = ids, .positions = {}, .sequences = {}, .head_rows = {}});
       ops.embed(s.matrix(matrix<BFloat16>(i[0])), s.matrix(matrix<BFloat16>(i[1])), ids);
     }},
    {"readRows",
     [](Ops& ops, Stage& s, const Info& i) {
       ops.read_rows(matrix<BFloat16>(i[0]), s.matrix(matrix<BFloat16>(i[1])), elements<int32_t>(i[2]));
     }},
    {"gatherRows",
     [](Ops& ops, Stage& s, const Info& i) {
       const auto rows = elements<int32_t>(i[2]);
       ops.begin_step({.tokens = {}, .positions = {}, .sequences = {}, .head_rows = rows});
       ops.gather_rows(s.matrix(matrix<BFloat16>(i[0])), s.matrix(matrix<BFloat16>(i[1])), rows);
     }},
    {"place",
     [](Ops& ops, Stage&, const Info& i) {
       const Matrix<BFloat16> y = matrix<BFloat16>(i[0]);
       const Matrix<const BFloat16> w = ops.place(matrix<BFloat16>(i[1]));
       ops.wait();
       for (int64_t row = 0; row < y.rows; ++row)
         ops.download(y.row(row), w.row(row), static_cast<size_t>(y.cols) * sizeof(BFloat16));
     }},
    {"rmsNorm",
     [](Ops& ops, Stage& s, const Info& i) {
       ops.rms_norm(s.matrix(matrix<BFloat16>(i[0])), s.matrix(matrix<BFloat16>(i[1])),
                    s.vector(elements<BFloat16>(i[2])), i[3].ToNumber().FloatValue());
     }},
    {"addNorm",
     [](Ops& ops, Stage& s, const Info& i) {
       ops.add_norm(s.matrix(matrix<BFloat16>(i[0])), s.matrix(matrix<BFloat16>(i[1])),
                    s.matrix(matrix<float>(i[2])), s.vector(elements<BFloat16>(i[3])),
                    i[4].ToNumber().FloatValue());
     }},
    {"ropeTable",
     [](Ops& ops, Stage& s, const Info& i) {
       const auto positions = elements<int32_t>(i[1]);
       ops.begin_step({.tokens = {}, .positions = positions, .sequences = {}, .head_rows = {}});
       ops.rope_table(s.matrix(matrix<float>(i[0])), positions, elements<float>(i[2]),
                      i[3].ToNumber().FloatValue());
     }},
    {"projectQkv", project_qkv},
    {"attention", attention},
    {"gateUp",
     [](Ops& ops, Stage& s, const Info& i) {
       ops.gate_up(s.matrix(matrix<BFloat16>(i[0])), s.matrix(matrix<BFloat16>(i[1])),
                   s.matrix(matrix<BFloat16>(i[2])), s.matrix(matrix<BFloat16>(i[3])));
     }},
    {"linear",
     [](Ops& ops, Stage& s, const Info& i) {
       ops.linear(s.matrix(matrix<float>(i[0])), s.matrix(matrix<BFloat16>(i[1])),
                  s.matrix(matrix<BFloat16>(i[2])), i[3].ToNumber().Int32Value());
     }},
};

Napi::Value create(const OpsBackend& backend, const Info& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Ops> ops = backend.make(info[0].ToString(), info[1].ToNumber().Int32Value(), false);
  auto object = Napi::Object::New(env);
  object.Set("computePath", ops->compute_path());
  const auto add = [&](const char* name, auto verb) {
    object.Set(name, method(env, name, [ops, verb, on_device = backend.on_device](const Info& i) {
                 Stage stage(*ops, on_device);
                 if constexpr (std::is_void_v<decltype(verb(*ops, stage, i))>) {
                   verb(*ops, stage, i);
                   stage.copy_back();
                 } else {
                   return verb(*ops, stage, i);
                 }
               }));
  };
  for (const auto& [name, verb] : kVerbs) add(name, verb);
  add("sample", sample);
  add("allocate", allocate);
  return object;
}

// ---- base/math and the kernels' exponential ----

Napi::Value math(const Info& info) {
  const std::string name = info[0].ToString();
  const auto x = elements<double>(info[1]);
  auto y = Napi::Float64Array::New(info.Env(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    if (name == "exp")
      y[i] = det_exp(x[i]);
    else if (name == "log")
      y[i] = det_log(x[i]);
    else if (name == "sin")
      y[i] = det_sincos(x[i]).sin;
    else if (name == "cos")
      y[i] = det_sincos(x[i]).cos;
    else
      refuse("No function " + name);
  }
  return y;
}

Napi::Value philox(const Info& info) {
  const auto counter = elements<uint32_t>(info[0]), key = elements<uint32_t>(info[1]);
  if (counter.size() != 4 || key.size() != 2) refuse("Expected a counter of 4 words and a key of 2");
  const auto words = philox4x32({counter[0], counter[1], counter[2], counter[3]}, {key[0], key[1]});
  auto result = Napi::Uint32Array::New(info.Env(), words.size());
  std::copy(words.begin(), words.end(), result.Data());
  return result;
}

Napi::Value kernel_exp(const Info& info) {
  const auto x = elements<float>(info[1]);
  auto y = Napi::Float32Array::New(info.Env(), x.size());
  find_kernels(info[0].ToString()).exp(y.Data(), x.data(), std::ssize(x));
  return y;
}

Napi::Value distribution(const Info& info) {
  const auto logits = elements<float>(info[1]);
  const auto owned = sample_row(info[2]);
  auto probabilities = Napi::Float64Array::New(info.Env(), logits.size());
  sampling_distribution(info[0].ToString(), {probabilities.Data(), logits.size()}, logits, owned->row);
  return probabilities;
}

// Runs `jobs` jobs of varying size on a pool; returns how many items
// did not run exactly once, or ran after their job.
Napi::Value pool_stress(const Info& info) {
  ThreadPool pool(info[0].ToNumber().Int32Value());
  const int64_t jobs = info[1].ToNumber().Int64Value();
  int64_t wrong = 0;
  for (int64_t job = 0; job < jobs; ++job) {
    std::vector<int64_t> runs(static_cast<size_t>(job % 37 + 1), 0);
    const auto count = [&](int64_t item, int) {
      // Some items take long, so that others finish around them; some jobs find the workers asleep.
      std::atomic<int64_t> spin = item * job % 29 * (job % 5) * 20;
      while (spin.fetch_sub(1, std::memory_order_relaxed) > 0) {
      }
      ++runs[static_cast<size_t>(item)];
    };
    pool.for_each(std::ssize(runs), {.flops = 1e9}, count);
    for (const int64_t times : runs) wrong += times == 1 ? 0 : 1;
    if (job % 512 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return Napi::Number::New(info.Env(), static_cast<double>(wrong));
}

}  // namespace

void register_ops(Napi::Env env, Napi::Object exports, const OpsBackend& backend) {
  auto ops = Napi::Object::New(env);
  ops.Set("paths", method(env, "paths", [backend](const Info& info) {
            auto list = Napi::Array::New(info.Env());
            for (const std::string& path : backend.paths) list.Set(list.Length(), path);
            return static_cast<Napi::Value>(list);
          }));
  ops.Set("onDevice", backend.on_device);
  ops.Set("create", method(env, "create", [backend](const Info& info) { return create(backend, info); }));
  ops.Set("math", method(env, "math", math));
  ops.Set("philox", method(env, "philox", philox));
  ops.Set("samplingDistribution", method(env, "samplingDistribution", distribution));
  ops.Set("poolStress", method(env, "poolStress", pool_stress));
  ops.Set("kernelExp", method(env, "kernelExp", kernel_exp));
  exports.Set("ops", ops);
}

}  // namespace lockstep::testing
