// The measurement's thread (on the CPU worker 0 of a pool of its own) is one of libuv's pool; it takes a second at most.
#include "binding/floors.h"

#include <memory>
#include <string>

#include "backend/registry.h"
#include "binding/promise_worker.h"

namespace lockstep::binding {
namespace {

// measureFloors(threads: number, path: string, bufferBytes: number) → Promise
Napi::Value measure(const Napi::CallbackInfo& info) {
  const int threads = info[0].As<Napi::Number>().Int32Value();
  const std::string path = info[1].As<Napi::String>();
  const size_t buffer_bytes = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  const auto floors = std::make_shared<Floors>();
  return PromiseWorker::run(
      info.Env(), "lockstep.measureFloors", [=] { *floors = measure_floors(path, threads, buffer_bytes); },
      [=](Napi::Env env) {
        auto result = Napi::Object::New(env);
        result.Set("readBytesPerSecond", floors->read_bytes_per_second);
        if (floors->copy_bytes_per_second > 0)
          result.Set("copyBytesPerSecond", floors->copy_bytes_per_second);
        result.Set("flopsPerSecond", floors->flops_per_second);
        result.Set("bufferBytes", static_cast<double>(floors->buffer_bytes));
        return result;
      });
}

}  // namespace

void register_floors(Napi::Env env, Napi::Object exports) {
  exports.Set("measureFloors", Napi::Function::New(env, measure, "measureFloors"));
}

}  // namespace lockstep::binding
