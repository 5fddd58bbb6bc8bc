#include "binding/surface.h"

#include <algorithm>
#include <vector>

#include "backend/registry.h"
#include "binding/connection.h"
#include "binding/convert.h"
#include "binding/floors.h"
#include "binding/staged_weights.h"
#include "engine/batch_builder.h"
#include "ops/cpu/cpu_ops.h"

namespace lockstep::binding {
namespace {

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  // `backend` reaches the constructor as the class's data pointer.
  static Napi::Function define(Napi::Env env, const Backend& backend) {
    return DefineClass(env, "NativeEngine",
                       {
                           InstanceMethod<&EngineObject::submit>("submit"),
                           InstanceMethod<&EngineObject::end>("end"),
                           InstanceMethod<&EngineObject::control>("control"),
                           InstanceMethod<&EngineObject::cancel>("cancel"),
                           InstanceMethod<&EngineObject::ref>("ref"),
                           InstanceMethod<&EngineObject::unref>("unref"),
                           InstanceMethod<&EngineObject::stats>("stats"),
                           InstanceMethod<&EngineObject::close>("close"),
                       },
                       const_cast<Backend*>(&backend));
  }

  // new NativeEngine(spec, listener)
  explicit EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
    guarded(info.Env(), [&] {
      EngineSpec spec = to_engine_spec(info[0].As<Napi::Object>());
      spec.backend = *static_cast<const Backend*>(info.Data());
      vocab_size_ = spec.config.vocab_size;
      connection_ = Connection::open(info.Env(), info[1].As<Napi::Function>(), std::move(spec));
    });
  }

  ~EngineObject() override {
    if (connection_ != nullptr) connection_->stop_on_js_thread();
  }

 private:
  Napi::Value submit(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] {
      if (connection_->engine() == nullptr) throw Error("ENGINE_CLOSED", "The engine is closed");
      auto request =
          to_request(info[0].As<Napi::Object>(), vocab_size_, connection_->engine()->capacity_tokens());
      const uint64_t id = request->id;
      if (id <= last_id_) throw Error("INVALID_ARGUMENT", "Expected an id above those of earlier requests");
      connection_->engine()->submit(std::move(request));
      last_id_ = id;
      return info.Env().Undefined();
    });
  }

  // end(id, stopped)
  void end(const Napi::CallbackInfo& info) {
    const bool stopped = info[1].As<Napi::Boolean>().Value();
    if (connection_->engine() != nullptr)
      connection_->engine()->end(static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue()),
                                 stopped ? FinishReason::kStop : FinishReason::kAbort);
  }

  void control(const Napi::CallbackInfo& info) {
    Control control = to_control(info[0].As<Napi::Object>());
    if (connection_->engine() != nullptr) connection_->engine()->control(std::move(control));
  }

  // cancel(id)
  void cancel(const Napi::CallbackInfo& info) {
    if (connection_->engine() != nullptr)
      connection_->engine()->cancel(static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue()));
  }

  void ref(const Napi::CallbackInfo& info) {
    if (connection_->engine() != nullptr) connection_->ref(info.Env());
  }

  void unref(const Napi::CallbackInfo& info) {
    if (connection_->engine() != nullptr) connection_->unref(info.Env());
  }

  Napi::Value stats(const Napi::CallbackInfo& info) { return from_stats(info.Env(), connection_->stats()); }

  void close(const Napi::CallbackInfo&) {
    if (connection_->engine() != nullptr) connection_->engine()->close();
  }

  std::shared_ptr<Connection> connection_;
  int32_t vocab_size_ = 0;
  uint64_t last_id_ = 0;  // ids ascend, so that none comes twice
};

Napi::Value cpu_paths(const Napi::CallbackInfo& info) {
  const auto paths = available_cpu_paths();
  auto array = Napi::Array::New(info.Env(), paths.size());
  for (uint32_t i = 0; i < paths.size(); ++i) array.Set(i, Napi::String::New(info.Env(), paths[i]));
  return array;
}

// cudaStatus() → { usable, reason, devices: { name, computeCapability, totalBytes, peers }[] }
Napi::Value cuda_status(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const CudaStatus status = lockstep::cuda_status();
    auto devices = Napi::Array::New(info.Env());
    for (const CudaDevice& device : status.devices) {
      auto peers = Napi::Array::New(info.Env());
      for (const bool peer : device.peers) peers.Set(peers.Length(), Napi::Boolean::New(info.Env(), peer));
      auto object = Napi::Object::New(info.Env());
      object.Set("name", device.name);
      object.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
      object.Set("totalBytes", static_cast<double>(device.total_bytes));
      object.Set("peers", peers);
      devices.Set(devices.Length(), object);
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("usable", status.usable);
    result.Set("reason", status.reason);
    result.Set("devices", devices);
    return result;
  });
}

// samplingDistribution(logits: Float32Array [V], sampling: NativeSampling, prompt: Int32Array, output:
// Int32Array, computePath: string) → Float32Array [V]: the probabilities that the engine would draw the next
// token from. NaN where logits are not finite, or every token is banned.
Napi::Value sampling_distribution(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto logits = info[0].As<Napi::Float32Array>();
    const int32_t V = static_cast<int32_t>(logits.ElementLength());
    const auto prompt = info[2].As<Napi::Int32Array>(), output = info[3].As<Napi::Int32Array>();
    Request request;
    request.sampling = to_sampling_params(info[1].As<Napi::Object>(), V);
    request.begin({prompt.Data(), prompt.Data() + prompt.ElementLength()},
                  {output.Data(), output.ElementLength()});
    std::vector<float> copy(logits.Data(), logits.Data() + V);  // they are overwritten
    std::vector<double> probabilities(V);
    lockstep::sampling_distribution(info[4].As<Napi::String>(), probabilities, copy, sampling_row(request));
    auto result = Napi::Float32Array::New(info.Env(), V);
    std::copy(probabilities.begin(), probabilities.end(), result.Data());
    return result;
  });
}

}  // namespace

void register_surface(Napi::Env env, Napi::Object exports, const Backend& backend) {
  exports.Set("NativeEngine", EngineObject::define(env, backend));
  exports.Set("StagedWeights", StagedWeights::define(env));
  exports.Set("samplingDistribution",
              Napi::Function::New(env, sampling_distribution, "samplingDistribution"));
  exports.Set("cpuPaths", Napi::Function::New(env, cpu_paths, "cpuPaths"));
  exports.Set("cudaStatus", Napi::Function::New(env, cuda_status, "cudaStatus"));
  register_floors(env, exports);
  exports.Set("blockTokens", Napi::Number::New(env, kBlockTokens));
}

}  // namespace lockstep::binding
