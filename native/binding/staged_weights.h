// Weights on their way into an engine: StagedWeights of the addon (src/native.ts). They are read and checked
// here, off the engine thread, so that an engine changes nothing before all of it is known to be good.
//
// From files: on a thread of libuv's pool. From JavaScript's memory: on JavaScript's thread, piece by piece,
// since nothing else keeps a buffer from being detached, shrunk and freed under a reader.
#pragma once
#include <napi.h>

#include <atomic>
#include <memory>

#include "checkpoint/tensor_store.h"

namespace lockstep::binding {

struct Staged {
  TensorTable table;
  TensorStore store;
  std::atomic<bool> cancel = false;
};

class StagedWeights : public Napi::ObjectWrap<StagedWeights> {
 public:
  static Napi::Function define(Napi::Env env);
  // new StagedWeights({ files, tensors }): without files, memory of the tensors' sizes is taken at once.
  explicit StagedWeights(const Napi::CallbackInfo& info);

  TensorStore take() { return std::move(staged_->store); }

 private:
  // write(name, firstElement, dtype, bytes: Uint8Array)
  void write(const Napi::CallbackInfo& info);
  // read(copy: boolean): Promise<void>
  Napi::Value read(const Napi::CallbackInfo& info);
  // cancel(): read() rejects soon
  void cancel(const Napi::CallbackInfo&) { staged_->cancel = true; }

  const std::shared_ptr<Staged> staged_ = std::make_shared<Staged>();
};

}  // namespace lockstep::binding
