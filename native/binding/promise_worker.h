// Work on a thread of libuv's pool whose end settles a promise, on JavaScript's thread. An environment that ends
// meanwhile waits for it, as for any work of libuv's.
#pragma once
#include <napi.h>

#include <exception>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include "binding/convert.h"

namespace lockstep::binding {

class PromiseWorker final : public Napi::AsyncWorker {
 public:
  // `work` runs in the pool and may throw; what `result` makes after it, on JavaScript's thread, the promise
  // resolves with.
  static Napi::Promise run(Napi::Env env, const char* name, std::function<void()> work,
                           std::function<Napi::Value(Napi::Env)> result) {
    auto* const worker = new PromiseWorker(env, name, std::move(work), std::move(result));
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();  // deletes itself
    return promise;
  }

 private:
  PromiseWorker(Napi::Env env, const char* name, std::function<void()> work,
                std::function<Napi::Value(Napi::Env)> result)
      : Napi::AsyncWorker(env, name), deferred_(env), work_(std::move(work)), result_(std::move(result)) {}

  void Execute() override {
    try {
      work_();
    } catch (const Error& error) {
      error_ = error;
    } catch (const std::bad_alloc&) {
      error_.emplace("OUT_OF_MEMORY", "Out of memory");
    } catch (const std::exception& error) {
      error_.emplace("ENGINE_FAILED", error.what());
    }
  }

  void OnOK() override {
    if (error_) return deferred_.Reject(to_js_error(Env(), *error_).Value());
    deferred_.Resolve(result_(Env()));
  }

  Napi::Promise::Deferred deferred_;
  const std::function<void()> work_;
  const std::function<Napi::Value(Napi::Env)> result_;
  std::optional<Error> error_;
};

}  // namespace lockstep::binding
