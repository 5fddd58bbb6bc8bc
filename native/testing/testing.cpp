#include "testing/testing.h"

#include "binding/surface.h"
#include "testing/canary_ops.h"

namespace {

// The product's surface, over a backend that can be told to break the contract, and the test entries.
Napi::Object init(Napi::Env env, Napi::Object exports) {
  lockstep::binding::register_surface(env, exports, lockstep::testing::make_canary_ops);
  lockstep::testing::register_ops(env, exports,
                                  {lockstep::make_cpu_ops, lockstep::available_cpu_paths(), false});
  lockstep::testing::register_model(env, exports, lockstep::testing::make_canary_ops);
  lockstep::testing::register_scheduler(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(lockstep_testing, init)
