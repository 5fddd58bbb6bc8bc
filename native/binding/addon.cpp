// The product's module entry.
#include "backend/registry.h"
#include "binding/surface.h"

namespace {

constexpr lockstep::Backend kBackend = {lockstep::make_ops, lockstep::make_group};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  lockstep::binding::register_surface(env, exports, kBackend);
  return exports;
}

}  // namespace

NODE_API_MODULE(lockstep, init)
