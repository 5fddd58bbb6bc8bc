#include "ops/cuda/stream.h"

#include <algorithm>
#include <cstdlib>

#include "ops/cuda/launch.h"
#include "ops/cuda/profiler.h"

namespace lockstep::cuda {
namespace {

constexpr size_t kSharedWithoutAsking = 48 * 1024;  // bytes; beyond, a kernel must opt in
constexpr size_t kMostGraphs = 64;                  // of the steps used last
constexpr int kOverlapMajor = 9;                    // compute capability from which kernels overlap

// LOCKSTEP_CUDA_WITHOUT=graphs,overlap,wgmma,ahead (or some of them) leaves them out: to tell a mistake in one from a
// mistake in the kernels.
bool wanted(const char* name) {
  const char* const without = std::getenv("LOCKSTEP_CUDA_WITHOUT");
  return without == nullptr || std::strstr(without, name) == nullptr;
}

}  // namespace

void Stream::open(int device) {
  check(cudaStreamCreate(&stream_), "making a stream");
  const auto ask = [&](cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device), "asking the device");
    return value;
  };
  const int major = ask(cudaDevAttrComputeCapabilityMajor);
  multiprocessors_ = ask(cudaDevAttrMultiProcessorCount);
  most_shared_bytes_ = static_cast<size_t>(ask(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  overlaps_ = major >= kOverlapMajor && wanted("overlap");
  wgmma_ = major == 9 && wanted("wgmma");
  replays_ = wanted("graphs");
  runs_ahead_ = wanted("ahead");
}

void Stream::set_profiler(Profiler& profiler) {
  profiler_ = &profiler;
  overlaps_ = false;
}

Stream::~Stream() {
  for (const Graph& graph : graphs_)
    if (graph.executable != nullptr) cudaGraphExecDestroy(graph.executable);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

void Stream::synchronize() { check(cudaStreamSynchronize(get()), "waiting for the device"); }

void Stream::begin_step(bool keep) {
  send();
  keeping_ = (keep && replays_) || profiler_ != nullptr;
}

void Stream::add(const Launch& declared, const Call& call, const std::byte* arguments, size_t bytes) {
  if (call.sizes[0] == 0 || call.sizes[1] == 0 || call.sizes[2] == 0) return;
  if (profiler_ != nullptr) profiler_->declare(declared);
  if (!keeping_) return launch(call, arguments);
  const auto append = [&](const void* data, size_t size) {
    const auto* const from = static_cast<const std::byte*>(data);
    tape_.insert(tape_.end(), from, from + size);
  };
  append(&bytes, sizeof(bytes));
  append(&call, sizeof(call));
  append(arguments, bytes);
}

void Stream::launch(const Call& call, const std::byte* arguments) {
  if (call.shared_bytes > most_shared_bytes_)
    throw Error("NOT_SUPPORTED", std::string(call.name) + " needs " + std::to_string(call.shared_bytes) +
                                     " bytes of shared memory, and a block of this device has at most " +
                                     std::to_string(most_shared_bytes_));
  // As much as there is: another engine of this process may need more than this one, and the last word counts.
  if (call.shared_bytes > kSharedWithoutAsking && large_.insert(call.kernel).second)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(call.kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(most_shared_bytes_)),
          call.name);
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  const unsigned* const s = call.sizes;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(s[0], s[1], s[2]);
  config.blockDim = dim3(s[3], s[4], s[5]);
  config.dynamicSmemBytes = call.shared_bytes;
  config.stream = stream_;
  config.attrs = &overlap;
  config.numAttrs = overlaps_ ? 1 : 0;
  if (profiler_ != nullptr) profiler_->begin(stream_);
  check(call.run(config, call.kernel, arguments), call.name);
  if (profiler_ != nullptr) profiler_->end(stream_);
}

void Stream::play(const Tape& tape) {
  for (size_t at = 0; at < tape.size();) {
    size_t bytes;
    Call call;
    std::memcpy(&bytes, &tape[at], sizeof(bytes));
    std::memcpy(&call, &tape[at += sizeof(bytes)], sizeof(call));
    launch(call, tape.data() + (at += sizeof(call)));
    at += bytes;
  }
}

void Stream::send() {
  if (tape_.empty()) return;
  const Tape tape = std::exchange(tape_, {});  // gone, too, where a launch fails
  if (profiler_ != nullptr) {
    profiler_->hold(stream_);
    return play(tape);
  }
  Graph& graph = remembered(tape);
  graph.last_use = ++uses_;
  if (graph.executable != nullptr)
    check(cudaGraphLaunch(graph.executable, stream_), "launching a graph");
  else
    play(tape);
}

// The graph of this tape. One that comes for the second time is captured; the first time it may be the last.
Stream::Graph& Stream::remembered(const Tape& tape) {
  const auto known = std::ranges::find(graphs_, tape, &Graph::tape);
  if (known != graphs_.end()) {
    if (known->executable == nullptr) capture(*known);
    return *known;
  }
  if (graphs_.size() < kMostGraphs) return graphs_.emplace_back(tape, nullptr, 0);
  Graph& oldest = *std::ranges::min_element(graphs_, {}, &Graph::last_use);
  if (oldest.executable != nullptr) {
    check(cudaStreamSynchronize(stream_), "waiting for a graph");  // it may be running
    cudaGraphExecDestroy(oldest.executable);
  }
  return oldest = {tape, nullptr, 0};
}

// Where that fails, say with a driver that cannot, every step is launched from then on; what really is wrong is
// found by launching.
void Stream::capture(Graph& graph) {
  cudaGraph_t captured = nullptr;
  bool whole = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  if (whole) {
    try {
      play(graph.tape);
    } catch (const Error&) {
      whole = false;
    }
    whole = cudaStreamEndCapture(stream_, &captured) == cudaSuccess && whole;
  }
  whole = whole && cudaGraphInstantiate(&graph.executable, captured, 0) == cudaSuccess;
  if (captured != nullptr) cudaGraphDestroy(captured);
  if (whole) return;
  (void)cudaGetLastError();
  graph.executable = nullptr;
  replays_ = false;
}

}  // namespace lockstep::cuda
