#include "binding/convert.h"

#include <algorithm>
#include <cfloat>

#include "binding/staged_weights.h"

namespace lockstep::binding {
namespace {

double number(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Number>().DoubleValue();
}

int32_t integer(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Number>().Int32Value();
}

bool boolean(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Boolean>().Value();
}

std::string string(const Napi::Object& object, const char* key) { return object.Get(key).As<Napi::String>(); }

template <class T, class Array>
std::vector<T> list(const Napi::Object& object, const char* key) {
  const auto array = object.Get(key).As<Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<int32_t> token_ids(const Napi::Object& object, const char* key, int32_t vocab_size) {
  auto ids = list<int32_t, Napi::Int32Array>(object, key);
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab_size)
      throw Error("INVALID_ARGUMENT", "Expected token ids in [0, " + std::to_string(vocab_size) + ") for " +
                                          key + " but received " + std::to_string(id));
  return ids;
}

Napi::Float64Array doubles(Napi::Env env, size_t length) { return Napi::Float64Array::New(env, length); }

// NativeLogprobs: row by row, `top` entries and `token_ids` entries each; rows are all of the same widths.
Napi::Object from_logprobs(Napi::Env env, std::span<const SampleResult> rows) {
  const size_t top = rows.front().top.size(), ids = rows.front().token_id_logprobs.size();
  auto logprobs = doubles(env, rows.size());
  auto top_tokens = Napi::Int32Array::New(env, rows.size() * top);
  auto top_logprobs = doubles(env, rows.size() * top);
  auto token_id_logprobs = doubles(env, rows.size() * ids);
  for (size_t i = 0; i < rows.size(); ++i) {
    logprobs[i] = rows[i].logprob;
    for (size_t j = 0; j < top; ++j) {
      top_tokens[i * top + j] = rows[i].top[j].token;
      top_logprobs[i * top + j] = rows[i].top[j].logprob;
    }
    for (size_t j = 0; j < ids; ++j) token_id_logprobs[i * ids + j] = rows[i].token_id_logprobs[j];
  }
  auto object = Napi::Object::New(env);
  object.Set("logprobs", logprobs);
  object.Set("topTokens", top_tokens);
  object.Set("topLogprobs", top_logprobs);
  object.Set("tokenIdLogprobs", token_id_logprobs);
  return object;
}

Napi::Object from_details(Napi::Env env, uint32_t row, const RequestEvent& event) {
  auto object = Napi::Object::New(env);
  object.Set("row", Napi::Number::New(env, row));
  if (!event.sample.top.empty()) object.Set("sampled", from_logprobs(env, {&event.sample, 1}));
  if (const auto& kept = event.sample.kept_token_ids; !kept.empty()) {
    auto ids = Napi::Int32Array::New(env, kept.size());
    std::copy(kept.begin(), kept.end(), ids.Data());
    object.Set("keptTokenIds", ids);
  }
  if (!event.scored.empty()) object.Set("scored", from_logprobs(env, event.scored));
  if (!event.pooled.empty()) {
    auto pooled = doubles(env, event.pooled.size());
    std::copy(event.pooled.begin(), event.pooled.end(), pooled.Data());
    object.Set("pooled", pooled);
  }
  if (event.error_code != nullptr) {
    object.Set("code", Napi::String::New(env, event.error_code));
    object.Set("message", Napi::String::New(env, event.error_message));
  }
  return object;
}

bool has_details(const RequestEvent& event) {
  return !event.sample.top.empty() || !event.sample.kept_token_ids.empty() || !event.scored.empty() ||
         !event.pooled.empty() || event.error_code != nullptr;
}

// An event too large to convert becomes the error of its request.
Napi::Object details_or_error(Napi::Env env, uint32_t row, RequestEvent& event) {
  std::string reason;
  try {
    return from_details(env, row, event);
  } catch (const std::exception& error) {  // Napi::Error is one
    reason = error.what();
  }
  event = {.id = event.id,
           .finish = FinishReason::kError,
           .cached_tokens = event.cached_tokens,
           .error_code = "OUT_OF_MEMORY",
           .error_message = "The result cannot be handed to JavaScript: " + reason};
  return from_details(env, row, event);
}

// The memory itself; JavaScript's garbage collector releases it.
Napi::ArrayBuffer from_memory(Napi::Env env, HostMemory memory) {
  auto owned = std::make_unique<HostMemory>(std::move(memory));
  const auto buffer = Napi::ArrayBuffer::New(
      env, owned->data(), owned->size_bytes(), [](Napi::Env, void*, HostMemory* dead) { delete dead; },
      owned.get());
  owned.release();
  return buffer;
}

const char* kind_name(EngineEvent::Kind kind) {
  switch (kind) {
    case EngineEvent::Kind::kLoaded:
      return "loaded";
    case EngineEvent::Kind::kStep:
      return "step";
    case EngineEvent::Kind::kDone:
      return "done";
    case EngineEvent::Kind::kFailed:
      return "failed";
    case EngineEvent::Kind::kClosed:
      return "closed";
  }
  return "step";
}

}  // namespace

ModelConfig to_model_config(const Napi::Object& object) {
  ModelConfig config;
  config.hidden_size = integer(object, "hiddenSize");
  config.intermediate_size = integer(object, "intermediateSize");
  config.num_layers = integer(object, "numLayers");
  config.num_heads = integer(object, "numHeads");
  config.num_kv_heads = integer(object, "numKvHeads");
  config.head_dim = integer(object, "headDim");
  config.vocab_size = integer(object, "vocabSize");
  config.rms_norm_eps = static_cast<float>(number(object, "rmsNormEps"));
  config.tied_head = boolean(object, "tiedHead");
  config.rope_inv_freq = list<float, Napi::Float32Array>(object, "ropeInvFreq");
  config.rope_scale = static_cast<float>(number(object, "ropeScale"));
  return config;
}

StoredType to_stored_type(const std::string& dtype) {
  if (dtype == "F32") return StoredType::kF32;
  return dtype == "F16" ? StoredType::kF16 : StoredType::kBF16;
}

TensorTable to_tensor_table(const Napi::Object& object) {
  TensorTable table;
  const auto files = object.Get("files").As<Napi::Array>();
  for (uint32_t i = 0; i < files.Length(); ++i) {
    const auto file = files.Get(i).As<Napi::Object>();
    table.files.push_back({string(file, "path"), static_cast<uint64_t>(number(file, "sizeBytes"))});
  }
  const auto tensors = object.Get("tensors").As<Napi::Array>();
  for (uint32_t i = 0; i < tensors.Length(); ++i) {
    const auto tensor = tensors.Get(i).As<Napi::Object>();
    TensorEntry entry{.name = string(tensor, "name"),
                      .type = to_stored_type(string(tensor, "dtype")),
                      .file = integer(tensor, "file"),
                      .offset_bytes = static_cast<uint64_t>(number(tensor, "offsetBytes")),
                      .shape = {}};
    const auto shape = tensor.Get("shape").As<Napi::Array>();
    for (uint32_t j = 0; j < shape.Length(); ++j)
      entry.shape.push_back(shape.Get(j).As<Napi::Number>().Int64Value());
    table.tensors.push_back(std::move(entry));
  }
  return table;
}

EngineSpec to_engine_spec(const Napi::Object& object) {
  EngineSpec spec;
  spec.config = to_model_config(object.Get("config").As<Napi::Object>());
  spec.tensors = to_tensor_table(object);
  spec.compute_path = string(object, "computePath");
  spec.devices = list<int32_t, Napi::Int32Array>(object, "devices");
  spec.memory_fraction = number(object, "memoryFraction");
  spec.max_context = integer(object, "maxContext");
  spec.threads = integer(object, "threads");
  spec.num_blocks = integer(object, "numBlocks");
  spec.max_batch_tokens = integer(object, "maxBatchTokens");
  spec.max_sequences = integer(object, "maxSequences");
  spec.prefix_cache = boolean(object, "prefixCache");
  spec.ranks = integer(object, "ranks");
  spec.copy_weights = boolean(object, "copyWeights");
  spec.profile = boolean(object, "profile");
  spec.debug = boolean(object, "debug");
  return spec;
}

SamplingParams to_sampling_params(const Napi::Object& object, int32_t vocab_size) {
  SamplingParams sampling;
  sampling.temperature = static_cast<float>(number(object, "temperature"));
  sampling.top_k = integer(object, "topK");
  sampling.top_p = static_cast<float>(number(object, "topP"));
  sampling.min_p = static_cast<float>(number(object, "minP"));
  // Above 0 as a double: it must not become 0 here, which the sampler takes for a broken invariant.
  sampling.repetition_penalty = std::max(static_cast<float>(number(object, "repetitionPenalty")), FLT_MIN);
  sampling.presence_penalty = static_cast<float>(number(object, "presencePenalty"));
  sampling.frequency_penalty = static_cast<float>(number(object, "frequencyPenalty"));
  const auto bias_tokens = token_ids(object, "biasTokens", vocab_size);
  const auto bias_values = list<float, Napi::Float32Array>(object, "biasValues");
  if (bias_values.size() != bias_tokens.size())
    throw Error("INVALID_ARGUMENT", "Expected biasValues of the length of biasTokens");
  for (size_t i = 0; i < bias_tokens.size(); ++i)
    sampling.logit_bias.push_back({bias_tokens[i], bias_values[i]});
  sampling.seed = static_cast<uint64_t>(number(object, "seed"));
  sampling.sample_index = static_cast<uint32_t>(number(object, "sampleIndex"));
  sampling.max_tokens = integer(object, "maxTokens");
  sampling.min_tokens = integer(object, "minTokens");
  sampling.forced_tokens = token_ids(object, "forcedTokens", vocab_size);
  sampling.stop_token_ids = token_ids(object, "stopTokenIds", vocab_size);
  sampling.logprobs = boolean(object, "logprobs");
  sampling.top_logprobs = integer(object, "topLogprobs");
  sampling.kept_token_ids = boolean(object, "keptTokenIds");
  return sampling;
}

std::unique_ptr<Request> to_request(const Napi::Object& object, int32_t vocab_size, int64_t most_tokens) {
  auto request = std::make_unique<Request>();
  request->id = static_cast<uint64_t>(number(object, "id"));
  request->sampling = to_sampling_params(object, vocab_size);
  if (object.Has("pooling"))
    request->pooling = string(object, "pooling") == "mean" ? Pooling::kMean : Pooling::kLast;
  request->begin(token_ids(object, "tokens", vocab_size), object.Has("outputTokens")
                                                              ? token_ids(object, "outputTokens", vocab_size)
                                                              : std::vector<int32_t>{});
  const int64_t wanted = int64_t{request->prompt_length} + request->sampling.max_tokens;
  if (request->prompt_length == 0) throw Error("INVALID_ARGUMENT", "Expected at least one token for tokens");
  if (request->sampling.max_tokens < 0 || wanted > most_tokens)
    throw Error("INVALID_ARGUMENT", "Expected at most " + std::to_string(most_tokens) +
                                        " for tokens and maxTokens together but received " +
                                        std::to_string(wanted));
  if (request->output_length() > 0 && request->output_length() >= request->sampling.max_tokens)
    throw Error("INVALID_ARGUMENT", "Expected fewer outputTokens than maxTokens (" +
                                        std::to_string(request->sampling.max_tokens) + ") but received " +
                                        std::to_string(request->output_length()));
  const auto root = object.Get("prefixRoot").As<Napi::BigUint64Array>();
  if (root.ElementLength() != 2) throw Error("INVALID_ARGUMENT", "Expected two words for prefixRoot");
  request->root = {root[0], root[1]};  // the engine knows the weight version
  if (object.Has("score")) {
    const auto score = object.Get("score").As<Napi::Object>();
    request->score.from = integer(score, "from");
    request->score.top_logprobs = integer(score, "topLogprobs");
    request->score.token_ids = token_ids(score, "tokenIds", vocab_size);
  }
  return request;
}

Control to_control(const Napi::Object& object) {
  Control control;
  control.id = static_cast<uint64_t>(number(object, "id"));
  control.kind = static_cast<Control::Kind>(integer(object, "kind"));
  control.running = static_cast<Running>(integer(object, "running"));
  if (control.kind == Control::Kind::kUpdate) {
    control.weights = StagedWeights::Unwrap(object.Get("weights").As<Napi::Object>())->take();
    control.version = static_cast<uint64_t>(number(object, "version"));
  }
  if (control.kind == Control::Kind::kRead) control.tensor = string(object, "tensor");
  if (control.kind == Control::Kind::kSleep) control.keep_weights = boolean(object, "keepWeights");
  return control;
}

Napi::Object from_event(Napi::Env env, EngineEvent& event) {
  constexpr size_t kColumns = 7;
  auto rows = doubles(env, event.requests.size() * kColumns);
  auto details = Napi::Array::New(env);
  for (uint32_t i = 0; i < event.requests.size(); ++i) {
    RequestEvent& request = event.requests[i];
    if (has_details(request)) details.Set(details.Length(), details_or_error(env, i, request));
    double* row = rows.Data() + i * kColumns;
    row[0] = static_cast<double>(request.id);
    row[1] = request.sample.token;
    row[2] = static_cast<double>(request.finish);
    row[3] = request.sample.logprob;
    row[4] = request.sample.temperature_logprob;
    row[5] = request.sample.sampling_logprob;
    row[6] = request.cached_tokens;
  }
  auto object = Napi::Object::New(env);
  object.Set("kind", Napi::String::New(env, kind_name(event.kind)));
  object.Set("rows", rows);
  object.Set("weightVersion", Napi::Number::New(env, static_cast<double>(event.weight_version)));
  object.Set("details", details);
  if (event.kind == EngineEvent::Kind::kLoaded) {
    object.Set("computePath", Napi::String::New(env, event.compute_path));
    object.Set("numBlocks", Napi::Number::New(env, event.num_blocks));
  }
  if (event.data.size_bytes() > 0) object.Set("data", from_memory(env, std::move(event.data)));
  if (event.kind == EngineEvent::Kind::kDone)
    object.Set("control", Napi::Number::New(env, static_cast<double>(event.control)));
  if (!event.code.empty()) {
    object.Set("code", Napi::String::New(env, event.code));
    object.Set("message", Napi::String::New(env, event.message));
  }
  return object;
}

Napi::Object from_stats(Napi::Env env, const EngineStats& stats) {
  auto object = Napi::Object::New(env);
  const auto set = [&](const char* key, uint64_t value) {
    object.Set(key, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("steps", stats.steps);
  set("stepsAhead", stats.steps_ahead);
  set("generatedTokens", stats.generated_tokens);
  set("promptTokens", stats.prompt_tokens);
  set("computedTokens", stats.computed_tokens);
  set("maxBatch", stats.max_batch);
  set("preemptions", stats.preemptions);
  set("aborts", stats.aborts);
  set("waiting", stats.waiting);
  set("running", stats.running);
  set("cachedTokens", stats.cached_tokens);
  set("fullHits", stats.full_hits);
  set("partialHits", stats.partial_hits);
  set("evictions", stats.evictions);
  set("freeBlocks", stats.free_blocks);
  set("cachedBlocks", stats.cached_blocks);
  set("ownedBlocks", stats.owned_blocks);
  set("deviceBytes", stats.device_bytes);
  object.Set("busySeconds", stats.busy_seconds);
  auto kernels = Napi::Array::New(env, stats.kernels.size());
  for (uint32_t i = 0; i < stats.kernels.size(); ++i) {
    const KernelProfile& from = stats.kernels[i];
    auto kernel = Napi::Object::New(env);
    kernel.Set("name", from.name);
    kernel.Set("calls", static_cast<double>(from.calls));
    kernel.Set("seconds", from.seconds);
    kernel.Set("bytes", from.bytes);
    kernel.Set("flops", from.flops);
    kernels.Set(i, kernel);
  }
  object.Set("kernels", kernels);
  return object;
}

Napi::Error to_js_error(Napi::Env env, const Error& error) {
  auto js = Napi::Error::New(env, error.what());
  js.Set("code", Napi::String::New(env, error.code()));
  return js;
}

}  // namespace lockstep::binding
