#include "binding/staged_weights.h"

#include <string>
#include <utility>

#include "binding/convert.h"
#include "binding/promise_worker.h"

namespace lockstep::binding {

Napi::Function StagedWeights::define(Napi::Env env) {
  return DefineClass(env, "StagedWeights",
                     {
                         InstanceMethod<&StagedWeights::write>("write"),
                         InstanceMethod<&StagedWeights::read>("read"),
                         InstanceMethod<&StagedWeights::cancel>("cancel"),
                     });
}

StagedWeights::StagedWeights(const Napi::CallbackInfo& info) : Napi::ObjectWrap<StagedWeights>(info) {
  guarded(info.Env(), [&] {
    staged_->table = to_tensor_table(info[0].As<Napi::Object>());
    if (staged_->table.files.empty()) staged_->store = TensorStore(staged_->table);
  });
}

void StagedWeights::write(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    // Of a SharedArrayBuffer's view, too, which has no Napi::ArrayBuffer.
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(info.Env(), info[3], &type, &length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array)
      throw Error("INVALID_ARGUMENT", "Expected a Uint8Array for bytes");
    staged_->store.write(
        info[0].As<Napi::String>(), static_cast<uint64_t>(info[1].As<Napi::Number>().DoubleValue()),
        to_stored_type(info[2].As<Napi::String>()), {static_cast<const std::byte*>(data), length});
  });
}

Napi::Value StagedWeights::read(const Napi::CallbackInfo& info) {
  const bool copy = info[0].As<Napi::Boolean>().Value();
  return PromiseWorker::run(
      info.Env(), "lockstep.readWeights",
      [staged = staged_, copy] {
        TensorStore store(staged->table);
        store.load(copy, staged->cancel);
        store.check_finite(staged->cancel);
        staged->store = std::move(store);
      },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lockstep::binding
