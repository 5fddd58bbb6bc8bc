// measureFloors() of the addon: measure_floors() of backend/registry.h off JavaScript's thread.
#pragma once
#include <napi.h>

namespace lockstep::binding {

void register_floors(Napi::Env env, Napi::Object exports);

}  // namespace lockstep::binding
