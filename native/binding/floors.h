// measureFloors() of the addon: the floors of ops/cpu/floors.h, measured off JavaScript's thread.
#pragma once
#include <napi.h>

namespace lockstep::binding {

void register_floors(Napi::Env env, Napi::Object exports);

}  // namespace lockstep::binding
