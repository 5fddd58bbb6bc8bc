// What a rank group's weights and memory go through after the load: other weights, sleep, a look at them.
#include <cstring>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/rank.h"

namespace lockstep {

void RankGroup::check_weights(const TensorStore& store) const {
  store.check_loaded();
  if ((shard_weights(spec_.config, store, 0, 1).head.data != nullptr) != has_head_)
    throw Error("INVALID_CHECKPOINT", "lm_head.weight: expected it as it was loaded, there or not");
}

void RankGroup::replace_weights(TensorStore store) {
  source_ = store.table();
  int rank = 0;
  for (const Worker& worker : workers_) {
    std::vector<Weights> weights;
    for (int i = 0; i < worker.model->ranks(); ++i)
      weights.push_back(shard_weights(spec_.config, store, rank++, spec_.ranks));
    worker.model->replace_weights(std::move(weights));
  }
  const bool nowhere = workers_.empty() && !source_.files.empty();  // wake() reads them
  const bool on_device = !workers_.empty() && !spec_.devices.empty();
  if (on_device) store.release();
  store_ = nowhere ? TensorStore() : std::move(store);
}

// The weights of all workers into the store's memory; with a name, of this tensor only.
void RankGroup::fetch(const TensorStore& host, const std::string& name) const {
  const auto wanted = name.empty() ? std::span<const BFloat16>() : host.elements(name);
  int rank = 0;
  for (const Worker& worker : workers_)
    for (int i = 0; i < worker.model->ranks(); ++i) {
      const auto from = list_of(worker.model->weights(i));
      const auto to = list_of(shard_weights(spec_.config, host, rank++, spec_.ranks));
      for (size_t j = 0; j < to.size(); ++j) {
        const Matrix<const BFloat16>& w = to[j];
        const bool inside = w.data >= wanted.data() && w.data < wanted.data() + wanted.size();
        if (name.empty() || inside)
          worker.ops->fetch({const_cast<BFloat16*>(w.data), w.rows, w.cols, w.stride}, from[j]);
      }
    }
}

HostMemory RankGroup::read(const std::string& name) const {
  TensorStore fetched;
  if (!store_.has(name)) {
    if (workers_.empty())
      throw Error("ENGINE_ASLEEP", "The engine sleeps without its weights: call wake() first");
    fetched = TensorStore({.files = {}, .tensors = source_.tensors});
    fetch(fetched, name);
  }
  const auto elements = (store_.has(name) ? store_ : fetched).elements(name);
  HostMemory copy(elements.size_bytes(), false);
  std::memcpy(copy.data(), elements.data(), elements.size_bytes());
  store_.check_nothing_lost();
  return copy;
}

void RankGroup::sleep(bool keep_weights) {
  const bool here_only = source_.files.empty() && !workers_.empty() && !spec_.devices.empty();
  if (!keep_weights && here_only) {
    TensorStore copy({.files = {}, .tensors = source_.tensors});
    fetch(copy, "");
    store_ = std::move(copy);
  }
  give_back(keep_weights);
}

void RankGroup::give_back(bool keep_weights) {
  if (!keep_weights) {
    workers_.clear();
    comm_group_.reset();
    if (!source_.files.empty()) store_ = TensorStore();
  }
  for (Worker& worker : workers_) {
    worker.caches.clear();
    worker.model->release();
    worker.ops->release();
  }
}

void RankGroup::wake() {
  const bool kept = !workers_.empty();
  try {
    if (kept) {
      for (Worker& worker : workers_) take_workspaces(worker);
      make_caches();
    } else {
      if (!source_.files.empty()) {
        store_ = TensorStore(source_);
        store_.load(spec_.copy_weights, cancel_);
      }
      load();
    }
  } catch (...) {
    give_back(kept);
    throw;
  }
}

}  // namespace lockstep
