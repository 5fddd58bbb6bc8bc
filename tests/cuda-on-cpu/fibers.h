// The host-execution layer's engine: runs one block of a kernel with its threads as fibers on this OS thread,
// one block after the other. Kernels meet it through include/cuda_runtime.h and include/ops/cuda/ptx.h only.
//
// A fiber runs until it meets a barrier or a warp instruction; who runs next is the Schedule's choice. So between
// two barriers each thread may be far ahead of or far behind any other, and code that lacks a barrier gives other
// results in another order. Each OS thread is a device of its own: launches of several run at the same time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace cuda_on_cpu {

enum class Order { kForward, kReverse, kRandom };

struct Schedule {
  Order order = Order::kForward;
  uint64_t seed = 1;          // of kRandom
  bool eager_copies = false;  // cp.async lands when issued (finds overwritten buffers); else at its wait
  bool peers = true;          // devices reach each other's memory
  int64_t fail_launch = -1;   // this launch, counted from 0 over the process, fails
  int failure = 700;          // with this error (cudaErrorIllegalAddress); what spoils the context comes from every call after it
  bool graphs = true;         // steps can be captured
  bool late = false;          // streams do what they are asked when somebody waits for it
  bool short_of_memory = false;  // the first allocation fails, then the second one after it, then the third ...
  bool report = false;        // at the process's end, how many graphs were launched, to stderr
};

// What launches use from now on; the environment variable LOCKSTEP_CUDA_ON_CPU ("reverse", "random:7", "eager",
// "no-peers", "no-graphs", "late", "short-of-memory", "fail:N" or "fail:N:ERROR", "report", joined by commas) gives the first value.
Schedule& schedule();

// A rule of the execution model was broken: threads of a warp at different instructions, a deadlock, copies never
// waited for, memory written out of range.
class Violation : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

// Runs `kernel` once for every thread of every block. Throws Violation.
void run_grid(Extent grid, Extent block, size_t shared_bytes, const std::function<void()>& kernel);

// ---- called by a running kernel ----

extern thread_local Extent current_thread, current_block, current_block_dim, current_grid_dim;

void block_barrier();
std::byte* shared_memory();  // poisoned (0xff) when a block starts

// Every lane of the warp brings `bytes` of `mine`; returns the 32 lanes' contributions, `bytes` apart, once all
// are there. `name`: the instruction; lanes that meet under different names are a Violation.
const std::byte* warp_exchange(const char* name, const void* mine, size_t bytes);
int lane_id();

// 16 bytes to shared memory, of which the first `valid` come from `from` and the rest are zero.
void copy_async(void* to, const void* from, int valid);
void commit_copies();
void wait_copies(int newest_groups_left);  // all but so many of the newest groups have landed

// ---- errors of the device ----

int count_launch();  // the error of this launch; 0: none
void count_graph();
int spoiled();  // the error that every call answers from now on; 0: none

// ---- device memory: canaries around each allocation, looked at after every launch ----

constexpr size_t kDeviceBytes = size_t{256} << 20;  // of each device that is played
constexpr int kDevices = 2;
extern thread_local int current_device;
void* allocate(size_t bytes);  // of the current device; null where it is full
void* allocate_pinned(size_t bytes);
int device_of(const void* memory);  // of an allocation; of pinned memory the current device
size_t free_bytes();  // of the current device
void release(void* memory);
void check_canaries();

}  // namespace cuda_on_cpu
