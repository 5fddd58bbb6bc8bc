#include "testing/testing.h"

#include <cstdlib>

#include "backend/registry.h"
#include "binding/surface.h"
#include "ops/cpu/cpu_ops.h"
#include "testing/canary_ops.h"

namespace {

constexpr lockstep::Backend kBackend = {lockstep::testing::make_canary_ops, lockstep::make_group};

// The product's surface, over backends that can be told to break the contract, and the test entries.
// LOCKSTEP_TEST_DEVICE=cuda:0 runs the suites over that device instead of the CPU's paths.
Napi::Object init(Napi::Env env, Napi::Object exports) {
  lockstep::binding::register_surface(env, exports, kBackend);
  const char* const device = std::getenv("LOCKSTEP_TEST_DEVICE");
  const bool on_device = device != nullptr && *device != 0;
  lockstep::testing::register_ops(
      env, exports,
      {lockstep::make_ops, on_device ? std::vector<std::string>{device} : lockstep::available_cpu_paths(),
       on_device});
  lockstep::testing::register_model(env, exports, kBackend);
  lockstep::testing::register_scheduler(env, exports);
  if (on_device)  // what the suites run over
    exports.Set("cpuPaths", exports.Get("ops").As<Napi::Object>().Get("paths"));
  return exports;
}

}  // namespace

NODE_API_MODULE(lockstep_testing, init)
