// An engine and the thread-safe function through which its events reach JavaScript. The one holder of a
// thread-safe function; its lifetime rules:
//
// 1. It is made with the engine and unreferenced at once: an idle engine does not keep the process alive.
//    JavaScript calls ref() when the first request opens and unref() when the last one ends.
// 2. The engine thread calls it once per step at most and never blocks on it.
// 3. stop() ends the engine thread first and releases the function after, so that nobody can call a dead
//    function. It runs when the engine has published kClosed, when its JavaScript object is collected, when
//    the environment is torn down (cleanup hook: also in worker threads), or at exit() (atexit: process.exit()
//    and uncaught exceptions run no cleanup hooks in Node 20). Whoever comes first does it, the others find
//    nothing to do.
// 4. The function owns a share of the connection, given back in its finalizer, so that events still in its
//    queue find the connection alive.
#pragma once
#include <napi.h>

#include <memory>
#include <mutex>

#include "engine/engine.h"

namespace lockstep::binding {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `listener` gets a NativeEvent for each event of the engine. JS thread. Throws what Engine's constructor
  // throws.
  static std::shared_ptr<Connection> open(Napi::Env env, const Napi::Function& listener, EngineSpec spec);
  ~Connection() = default;

  void ref(Napi::Env env) { function_.Ref(env); }
  void unref(Napi::Env env) { function_.Unref(env); }

  // Null once stopped. JS thread.
  Engine* engine() const { return engine_.get(); }

  EngineStats stats() const { return engine_ ? engine_->stats() : last_stats_; }

  // Ends the engine thread; the second call and later ones do nothing. JS thread.
  void stop_on_js_thread();

  // The same at exit(), when there is no environment left to tell.
  void stop();

 private:
  struct Context;
  static void deliver(Napi::Env env, Napi::Function listener, Context* context, EngineEvent* event);
  using Function = Napi::TypedThreadSafeFunction<Context, EngineEvent, &Connection::deliver>;
  static void on_environment_exit(void* connection);

  napi_env env_ = nullptr;
  Function function_;
  std::mutex stop_mutex_;  // stop() may be called by JS thread and at exit
  std::unique_ptr<Engine> engine_;
  EngineStats last_stats_;  // once stopped
};

}  // namespace lockstep::binding
