// A device's stream, and the kernels that the present step has asked of it. Rank thread only.
//
// A small step is kept back until something waits for it: by then it is known whether it launches exactly what
// an earlier step launched. If so, a graph of it is replayed in one call: the host's time per kernel would
// otherwise be longer than the kernels. Larger steps launch at once, so that the device works meanwhile.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace lockstep::cuda {

class Profiler;
class Stream;

// Where a launch runs, and what it moves: the profiler divides by it (bytes of device memory, FLOPs).
struct Launch {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  Stream& stream;
  double bytes, flops;
  // Where there are weights; the profiler tells the kernel's uses apart by their shape.
  int64_t weight_rows = 0, weight_cols = 0;
};

class Stream {
 public:
  Stream() = default;
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  void open(int device);  // the current one
  // From now on every step is kept back and then launched kernel by kernel, without overlap, between the profiler's
  // events. It outlives the stream's last launch.
  void set_profiler(Profiler& profiler);

  bool may_run_ahead() const { return runs_ahead_; }  // see Ops::runs_ahead
  bool has_wgmma() const { return wgmma_; }           // Hopper's own instructions
  int multiprocessors() const { return multiprocessors_; }
  size_t most_shared_bytes() const { return most_shared_bytes_; }  // that a block may ask for

  // For copies that the kernels kept back shall find done: what is put on it now comes before them.
  cudaStream_t ahead() const { return stream_; }
  // For all else: everything asked for so far is on it.
  cudaStream_t get() {
    send();
    return stream_;
  }
  void synchronize();

  // What comes belongs to a new step; what the last one kept back and nobody waited for is sent. `keep`: keep
  // its launches back.
  void begin_step(bool keep);

  // Launches, or keeps back. Arguments are compared byte for byte between steps, so structs have no padding.
  template <class... Parameters, class... Arguments>
  void add(const Launch& launch, void (*kernel)(Parameters...), Arguments... arguments) {
    Call call = {
        launch.name,
        &run<Parameters...>,
        reinterpret_cast<Kernel>(kernel),
        launch.shared_bytes,
        {launch.grid.x, launch.grid.y, launch.grid.z, launch.block.x, launch.block.y, launch.block.z}};
    std::byte packed[(sizeof(Parameters) + ... + 0)];
    size_t at = 0;
    const auto pack = [&](const auto& argument) {
      std::memcpy(packed + at, &argument, sizeof(argument));
      at += sizeof(argument);
    };
    (pack(static_cast<Parameters>(arguments)), ...);
    add(launch, call, packed, at);
  }

 private:
  using Kernel = void (*)();
  struct Call {  // then its arguments
    const char* name;
    cudaError_t (*run)(const cudaLaunchConfig_t& config, Kernel kernel, const std::byte* arguments);
    Kernel kernel;
    size_t shared_bytes;
    unsigned sizes[6];  // grid, block
  };
  using Tape = std::vector<std::byte>;  // calls, each after its size
  struct Graph {
    Tape tape;
    cudaGraphExec_t executable;  // null until the tape comes a second time
    uint64_t last_use;
  };

  template <class... Parameters>
  static cudaError_t run(const cudaLaunchConfig_t& config, Kernel kernel, const std::byte* arguments) {
    std::tuple<Parameters...> values;
    const auto take = [&](auto& value) {
      std::memcpy(&value, arguments, sizeof(value));
      arguments += sizeof(value);
    };
    return std::apply(
        [&](auto&... value) {
          (take(value), ...);
          return cudaLaunchKernelEx(&config, reinterpret_cast<void (*)(Parameters...)>(kernel), value...);
        },
        values);
  }

  void add(const Launch& launch, const Call& call, const std::byte* arguments, size_t bytes);
  void launch(const Call& call, const std::byte* arguments);
  void play(const Tape& tape);
  void send();
  void capture(Graph& graph);
  Graph& remembered(const Tape& tape);

  cudaStream_t stream_ = nullptr;
  bool overlaps_ = false;  // kernels of this device may start before the one before has ended
  bool wgmma_ = false;
  bool runs_ahead_ = false;
  bool replays_ = false;
  bool keeping_ = false;
  Profiler* profiler_ = nullptr;  // null unless profiling
  Tape tape_;
  std::vector<Graph> graphs_;
  uint64_t uses_ = 0;
  std::set<Kernel> large_;  // kernels that have been allowed as much shared memory as there is
  int multiprocessors_ = 0;
  size_t most_shared_bytes_ = 0;
};

}  // namespace lockstep::cuda
