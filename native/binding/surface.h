// The addon's surface (the interfaces of src/native.ts): an Engine class and what `lockstep doctor` prints.
// Arguments are converted in convert.cpp; threads and lifetime are connection.cpp's.
#pragma once
#include <napi.h>

#include "ops/cpu/cpu_ops.h"

namespace lockstep::binding {

// `make_ops`: the backend that engines of this addon use.
void register_surface(Napi::Env env, Napi::Object exports, OpsFactory make_ops);

}  // namespace lockstep::binding
