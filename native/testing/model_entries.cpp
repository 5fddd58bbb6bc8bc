// The whole forward pass on one sequence, without an engine: tokens in, logits or hidden states out.
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "binding/convert.h"
#include "engine/engine.h"
#include "engine/rank.h"
#include "testing/testing.h"

namespace lockstep::testing {
namespace {

// new TestModel(spec: NativeEngineSpec)
class TestModel : public Napi::ObjectWrap<TestModel> {
 public:
  // `backend` reaches the constructor as the class's data pointer.
  static Napi::Function define(Napi::Env env, const Backend& backend) {
    return DefineClass(env, "TestModel", {InstanceMethod<&TestModel::forward>("forward")},
                       const_cast<Backend*>(&backend));
  }

  explicit TestModel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TestModel>(info) {
    try {
      spec_ = binding::to_engine_spec(info[0].As<Napi::Object>());
      spec_.backend = *static_cast<const Backend*>(info.Data());
      ranks_ = std::make_unique<RankGroup>(spec_, cancel_);
    } catch (const Error& error) {
      throw binding::to_js_error(info.Env(), error);
    }
  }

 private:
  // forward(tokens: Int32Array, chunk: number) → { logits: Float32Array [T, V], hidden: Uint16Array [T, D]
  // (BF16 bits) }
  Napi::Value forward(const Napi::CallbackInfo& info) {
    try {
      return forward_chunks(info);
    } catch (const Error& error) {
      throw binding::to_js_error(info.Env(), error);
    }
  }

  Napi::Value forward_chunks(const Napi::CallbackInfo& info) {
    const auto tokens = info[0].As<Napi::Int32Array>();
    const int32_t T = static_cast<int32_t>(tokens.ElementLength());
    const int32_t chunk = std::min(info[1].As<Napi::Number>().Int32Value(), spec_.max_batch_tokens);
    const ModelConfig& config = ranks_->model().config();
    const int64_t V = ranks_->model().has_head() ? config.vocab_size : 0, D = config.hidden_size;
    auto logits = Napi::Float32Array::New(info.Env(), T * V);
    auto hidden = Napi::Uint16Array::New(info.Env(), T * D);
    std::vector<int32_t> blocks(spec_.num_blocks);
    // Not in order, as in a pool that has been in use.
    for (int32_t i = 0; i < spec_.num_blocks; ++i) blocks[i] = spec_.num_blocks - 1 - i;
    for (int32_t begin = 0; begin < T; begin += chunk) {
      const int32_t count = std::min(chunk, T - begin);
      Step step;
      step.sequences.push_back(
          {.first_row = 0, .num_tokens = count, .start_position = begin, .blocks = blocks.data()});
      for (int32_t i = 0; i < count; ++i) {
        step.tokens.push_back(tokens[begin + i]);
        step.positions.push_back(begin + i);
        step.head_rows.push_back(i);
      }
      ranks_->forward(step);
      for (int32_t i = 0; i < count; ++i) {
        ranks_->ops().download(hidden.Data() + (begin + i) * D, ranks_->model().hidden().row(i), 2 * D);
        if (V == 0) continue;
        const Matrix<float> row_logits = ranks_->logits(std::span(step.head_rows).subspan(i, 1));
        ranks_->ops().download(logits.Data() + (begin + i) * V, row_logits.data, V * sizeof(float));
      }
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("logits", logits);
    result.Set("hidden", hidden);
    return result;
  }

  std::atomic<bool> cancel_ = false;
  EngineSpec spec_;
  std::unique_ptr<RankGroup> ranks_;
};

}  // namespace

void register_model(Napi::Env env, Napi::Object exports, const Backend& backend) {
  exports.Set("TestModel", TestModel::define(env, backend));
}

}  // namespace lockstep::testing
