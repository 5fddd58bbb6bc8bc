#include "binding/connection.h"

#include <chrono>
#include <cstdlib>
#include <set>
#include <utility>

#include "binding/convert.h"

namespace lockstep::binding {

struct Connection::Context {
  std::shared_ptr<Connection> connection;
};

namespace {

// Connections with a running engine thread, stopped at exit. Never destroyed: a static destructor could run
// while an engine thread still lives.
struct LiveConnections {
  std::mutex mutex;
  std::set<std::shared_ptr<Connection>> connections;

  static LiveConnections& get() {
    static LiveConnections& live = *[] {
      std::atexit([] {
        std::set<std::shared_ptr<Connection>> connections;
        {
          std::lock_guard lock(get().mutex);
          connections = get().connections;
        }
        for (const auto& connection : connections) connection->stop();
      });
      return new LiveConnections;
    }();
    return live;
  }
};

}  // namespace

std::shared_ptr<Connection> Connection::open(Napi::Env env, const Napi::Function& listener, EngineSpec spec) {
  auto connection = std::make_shared<Connection>();
  connection->env_ = env;
  connection->function_ = Function::New(env, listener, "lockstep engine", 0, 1, new Context{connection},
                                        [](Napi::Env, void*, Context* context) { delete context; });
  connection->function_.Unref(env);
  try {
    connection->engine_ = std::make_unique<Engine>(
        std::move(spec), [function = connection->function_](std::unique_ptr<EngineEvent> event) {
          if (function.NonBlockingCall(event.get()) == napi_ok) event.release();
        });
  } catch (...) {
    connection->function_.Release();
    throw;
  }
  napi_add_env_cleanup_hook(env, on_environment_exit, connection.get());
  LiveConnections& live = LiveConnections::get();
  std::lock_guard lock(live.mutex);
  live.connections.insert(connection);
  return connection;
}

void Connection::stop_on_js_thread() {
  napi_remove_env_cleanup_hook(env_, on_environment_exit, this);
  stop();
}

void Connection::stop() {
  std::lock_guard lock(stop_mutex_);
  if (engine_ == nullptr) return;
  last_stats_ = engine_->stats();
  engine_.reset();  // joins
  function_.Release();
  LiveConnections& live = LiveConnections::get();
  std::lock_guard live_lock(live.mutex);
  live.connections.erase(shared_from_this());
}

void Connection::on_environment_exit(void* connection) {
  const auto alive = static_cast<Connection*>(connection)->shared_from_this();
  alive->stop();
}

void Connection::deliver(Napi::Env env, Napi::Function listener, Context* context, EngineEvent* raw_event) {
  const std::unique_ptr<EngineEvent> event(raw_event);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is going down: nobody is left to hear
  Connection& connection = *context->connection;
  if (event->kind == EngineEvent::Kind::kClosed) connection.stop_on_js_thread();
  const auto began = std::chrono::steady_clock::now();
  Napi::Object converted = from_event(env, *event);
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - began;
  converted.Set("conversionMs", Napi::Number::New(env, spent.count()));
  // What became an error only in the conversion is still computed; of the others the engine knows nothing.
  for (const RequestEvent& request : event->requests)
    if (request.finish == FinishReason::kError && connection.engine_ != nullptr)
      connection.engine_->end(request.id, FinishReason::kAbort);
  listener.Call({converted});
}

}  // namespace lockstep::binding
