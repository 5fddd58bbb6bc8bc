// lockstep-cuda-on-cpu.node: the product's surface and the test entries of native/testing over the CUDA backend run on
// the CPU, so that LOCKSTEP_ADDON and LOCKSTEP_TESTING_ADDON can name it.
#include "base/error.h"
#include "binding/surface.h"
#include "ops/cuda/cuda_ops.h"
#include "testing/testing.h"

namespace {

std::unique_ptr<lockstep::Ops> make(const std::string& path, int) {
  if (!path.empty() && path != "cuda-on-cpu") throw lockstep::Error("NOT_SUPPORTED", "Expected compute path cuda-on-cpu");
  return lockstep::cuda::make_cuda_ops(0, "cuda-on-cpu");
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  lockstep::binding::register_surface(env, exports, make);
  lockstep::testing::register_model(env, exports, make);
  lockstep::testing::register_ops(env, exports, {make, {"cuda-on-cpu"}, true});
  exports.Set("cpuPaths", exports.Get("ops").As<Napi::Object>().Get("paths"));  // what the suites run over
  return exports;
}

}  // namespace

NODE_API_MODULE(lockstep_cuda_on_cpu, init)
