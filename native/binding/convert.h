// JavaScript values ↔ engine types, each converted once, at this edge. JS thread only. The shapes are the
// interfaces of src/native.ts. TypeScript has validated what the user passed; what memory safety and progress
// rest on is checked again: token ids, lengths and the room in the pool here (Error("INVALID_ARGUMENT")),
// sizes of the model and of the engine in RankGroup, tensors in TensorStore.
#pragma once
#include <napi.h>

#include <exception>
#include <memory>
#include <string>

#include "base/error.h"
#include "engine/engine.h"

namespace lockstep::binding {

ModelConfig to_model_config(const Napi::Object& object);
StoredType to_stored_type(const std::string& dtype);
TensorTable to_tensor_table(const Napi::Object& object);
EngineSpec to_engine_spec(const Napi::Object& object);                              // NativeEngineSpec
SamplingParams to_sampling_params(const Napi::Object& object, int32_t vocab_size);  // part of NativeRequest

// NativeRequest. most_tokens: what the KV pool holds, so prompt and maxTokens at most.
std::unique_ptr<Request> to_request(const Napi::Object& object, int32_t vocab_size, int64_t most_tokens);

Control to_control(const Napi::Object& object);  // NativeControl

// NativeEvent. Where the logprobs of one request cannot be converted, that request's event becomes its error
// (in `event`, too), and the others are delivered.
Napi::Object from_event(Napi::Env env, EngineEvent& event);

Napi::Object from_stats(Napi::Env env, const EngineStats& stats);  // NativeStats
Napi::Error to_js_error(Napi::Env env, const Error& error);        // with its code

// Runs `body` and turns the layers' exceptions into JavaScript's, with their code.
template <class Body>
auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw to_js_error(env, Error("ENGINE_FAILED", error.what()));
  }
}

}  // namespace lockstep::binding
