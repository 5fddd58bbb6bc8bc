// The addon's surface (the interfaces of src/native.ts): an Engine class and what `lockstep doctor` prints.
// Arguments are converted in convert.cpp; threads and lifetime are connection.cpp's.
#pragma once
#include <napi.h>

#include "engine/engine.h"

namespace lockstep::binding {

// `backend`: what engines of this addon run on; outlives the environment.
void register_surface(Napi::Env env, Napi::Object exports, const Backend& backend);

}  // namespace lockstep::binding
