// The measurement runs on a thread of libuv's pool (on the CPU worker 0 of a pool of its own); the promise is settled
// on JavaScript's thread. An environment that ends meanwhile waits for it, as for any work of libuv's: a
// second at most.
#include "binding/floors.h"

#include <optional>

#include "backend/registry.h"
#include "binding/convert.h"

namespace lockstep::binding {
namespace {

class FloorsWorker final : public Napi::AsyncWorker {
 public:
  FloorsWorker(Napi::Env env, std::string path, int threads, size_t buffer_bytes)
      : Napi::AsyncWorker(env, "lockstep.measureFloors"),
        deferred_(env),
        path_(std::move(path)),
        threads_(threads),
        buffer_bytes_(buffer_bytes) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 private:
  void Execute() override {
    try {
      floors_ = measure_floors(path_, threads_, buffer_bytes_);
    } catch (const Error& error) {
      error_ = error;
    } catch (const std::exception& error) {
      error_.emplace("ENGINE_FAILED", error.what());
    }
  }

  void OnOK() override {
    if (error_) return deferred_.Reject(to_js_error(Env(), *error_).Value());
    auto result = Napi::Object::New(Env());
    result.Set("readBytesPerSecond", floors_.read_bytes_per_second);
    if (floors_.copy_bytes_per_second > 0) result.Set("copyBytesPerSecond", floors_.copy_bytes_per_second);
    result.Set("flopsPerSecond", floors_.flops_per_second);
    result.Set("bufferBytes", static_cast<double>(floors_.buffer_bytes));
    deferred_.Resolve(result);
  }

  Napi::Promise::Deferred deferred_;
  const std::string path_;
  const int threads_;
  const size_t buffer_bytes_;
  Floors floors_;
  std::optional<Error> error_;
};

// measureFloors(threads: number, path: string, bufferBytes: number) → Promise
Napi::Value measure(const Napi::CallbackInfo& info) {
  auto* const worker =
      new FloorsWorker(info.Env(), info[1].As<Napi::String>(), info[0].As<Napi::Number>().Int32Value(),
                       static_cast<size_t>(info[2].As<Napi::Number>().Int64Value()));
  const Napi::Promise promise = worker->promise();
  worker->Queue();  // deletes itself
  return promise;
}

}  // namespace

void register_floors(Napi::Env env, Napi::Object exports) {
  exports.Set("measureFloors", Napi::Function::New(env, measure, "measureFloors"));
}

}  // namespace lockstep::binding
