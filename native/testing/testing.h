// Test entries: the addon lockstep-testing.node lets the tests call native parts one by one. Not part of the
// product.
#pragma once
#include <napi.h>

#include <string>
#include <vector>

#include "engine/engine.h"

namespace lockstep::testing {

// The backend that the entries of ops_entries.cpp drive.
struct OpsBackend {
  std::unique_ptr<Ops> (*make)(const std::string& path, int threads, bool profile);
  std::vector<std::string> paths;
  bool on_device;  // arguments are copied to allocate()d memory, results back
};

void register_ops(Napi::Env env, Napi::Object exports,
                  const OpsBackend& backend);  // ops_entries.cpp: every verb of ops.h, per compute path
void register_model(Napi::Env env, Napi::Object exports,
                    const Backend& backend);  // model_entries.cpp: a whole forward pass to logits
void register_scheduler(Napi::Env env, Napi::Object exports);  // scheduler_entries.cpp: its model check

}  // namespace lockstep::testing
