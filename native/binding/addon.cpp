// The product's module entry.
#include "binding/surface.h"
#include "ops/registry.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  lockstep::binding::register_surface(env, exports, lockstep::make_ops);
  return exports;
}

}  // namespace

NODE_API_MODULE(lockstep, init)
