#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_on_cpu {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr int kWarp = 32;
constexpr size_t kLargestExchange = 64;  // bytes a lane brings to a warp instruction

// ---- switching between fibers ----

#if defined(__x86_64__)
// Saves the callee-saved registers on the present stack, and goes on with the other one.
extern "C" void cuda_on_cpu_switch(void** save, void* restore);
asm(R"(
.text
.globl cuda_on_cpu_switch
.type cuda_on_cpu_switch,@function
cuda_on_cpu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_cpu_switch,.-cuda_on_cpu_switch
)");

struct Context {
  void* stack_pointer = nullptr;
};
void prepare(Context& context, std::byte* stack, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(stack + kStackBytes) - 2;  // ret leaves the stack as a call would
  *top = reinterpret_cast<void*>(entry);
  context.stack_pointer = top - 6;
}
void change(Context& from, Context& to) { cuda_on_cpu_switch(&from.stack_pointer, to.stack_pointer); }
#else
struct Context {
  ucontext_t context;
};
void prepare(Context& context, std::byte* stack, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = kStackBytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}
void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
#endif

struct Copy {
  std::byte* to;
  const std::byte* from;
  int valid;
};

struct Fiber {
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  ~Fiber() {
    if (stack != nullptr) munmap(stack, kStackBytes);
  }

  Context context;
  std::byte* stack = nullptr;
  Extent thread;
  std::deque<std::vector<Copy>> groups;  // committed cp.async groups, oldest first
  std::vector<Copy> open_group;
};

// A warp's meeting place. Two buffers: a lane can be one instruction ahead of one that has still to read.
struct Warp {
  const char* name = nullptr;  // of the instruction that lanes wait at
  int arrived = 0, lanes = 0;
  unsigned parity = 0;
  std::vector<int> waiting;
  std::byte values[2][kWarp * kLargestExchange];
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  std::vector<int> ready;             // the last one runs next
  std::vector<int> waiting_at_block;  // at the block barrier
  Context scheduler;
  int current = -1, threads = 0, unfinished = 0;
  uint64_t random_state = 0;
  std::unique_ptr<std::byte[]> shared;
  const std::function<void()>* kernel = nullptr;
  std::exception_ptr failure;
#if defined(__SANITIZE_ADDRESS__)
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
#endif
};
thread_local Machine machine;

struct Allocation {
  size_t bytes;
  int device;  // -1: the host's
};
std::mutex allocations_mutex;
std::map<std::byte*, Allocation> allocations;
size_t allocated_bytes[kDevices] = {};
constexpr size_t kCanaryBytes = 256;
constexpr std::byte kCanary{0xa5};

uint64_t next_random() {
  uint64_t z = (machine.random_state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void to_scheduler(bool finished) {
  Fiber& fiber = *machine.fibers[machine.current];
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(finished ? nullptr : &fake, machine.scheduler_stack,
                                 machine.scheduler_stack_bytes);
  change(fiber.context, machine.scheduler);
  __sanitizer_finish_switch_fiber(fake, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
#else
  (void)finished;
  change(fiber.context, machine.scheduler);
#endif
}

void to_fiber(int index) {
  Fiber& fiber = *machine.fibers[index];
  machine.current = index;
  current_thread = fiber.thread;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack, kStackBytes);
  change(machine.scheduler, fiber.context);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  change(machine.scheduler, fiber.context);
#endif
}

// Threads become ready in an order that makes the schedule's choice the last of the list.
void make_ready(std::vector<int>& threads) {
  std::sort(threads.begin(), threads.end());
  if (schedule().order != Order::kReverse) std::reverse(threads.begin(), threads.end());
  machine.ready.insert(machine.ready.end(), threads.begin(), threads.end());
  threads.clear();
}

void land(const Copy& copy) {
  std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.valid));
  std::memset(copy.to + copy.valid, 0, static_cast<size_t>(16 - copy.valid));
}

void release_block_barrier_if_complete() {
  const int waiting = static_cast<int>(machine.waiting_at_block.size());
  if (waiting == 0 || waiting != machine.unfinished) return;
  if (waiting != machine.threads) throw Violation("threads wait at a barrier that others have passed by");
  make_ready(machine.waiting_at_block);
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_stack_bytes);
#endif
  const int self = machine.current;
  try {
    (*machine.kernel)();
    Fiber& fiber = *machine.fibers[self];
    if (!fiber.groups.empty() || !fiber.open_group.empty())
      throw Violation("a thread ended with copies that it never waited for");
    --machine.unfinished;
    release_block_barrier_if_complete();
  } catch (...) {
    if (machine.failure == nullptr) machine.failure = std::current_exception();
  }
  to_scheduler(true);
  std::abort();  // a finished fiber is never resumed
}

int choose() {
  if (schedule().order == Order::kRandom)
    std::swap(machine.ready[next_random() % machine.ready.size()], machine.ready.back());
  const int index = machine.ready.back();
  machine.ready.pop_back();
  return index;
}

void run_block(Extent block, size_t shared_bytes) {
  const int threads = static_cast<int>(block.x * block.y * block.z);
  while (static_cast<int>(machine.fibers.size()) < threads) {
    auto fiber = std::make_unique<Fiber>();
    void* const stack =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) throw std::bad_alloc();
    fiber->stack = static_cast<std::byte*>(stack);
    machine.fibers.push_back(std::move(fiber));
  }
  machine.shared = std::make_unique<std::byte[]>(std::max<size_t>(shared_bytes, 1));
  std::memset(machine.shared.get(), 0xff, shared_bytes);
  machine.warps.resize(static_cast<size_t>((threads + kWarp - 1) / kWarp));
  for (size_t w = 0; w < machine.warps.size(); ++w) {
    machine.warps[w].arrived = 0;
    machine.warps[w].waiting.clear();
    machine.warps[w].lanes = std::min(kWarp, threads - static_cast<int>(w) * kWarp);
  }
  machine.threads = machine.unfinished = threads;
  machine.ready.clear();
  machine.waiting_at_block.clear();
  machine.failure = nullptr;
  std::vector<int> all;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = *machine.fibers[i];
    fiber.groups.clear();
    fiber.open_group.clear();
    const unsigned u = static_cast<unsigned>(i);
    fiber.thread = {u % block.x, u / block.x % block.y, u / (block.x * block.y)};
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.stack, kStackBytes);  // what a fiber that was dropped has left
#endif
    prepare(fiber.context, fiber.stack, fiber_main);
    all.push_back(i);
  }
  make_ready(all);
  while (!machine.ready.empty() && machine.failure == nullptr) to_fiber(choose());
  // After a failure the other fibers are dropped where they stand: kernels hold nothing that needs a destructor.
  if (machine.failure != nullptr) std::rethrow_exception(machine.failure);
  if (machine.unfinished > 0) throw Violation("deadlock: threads wait at different barriers");
}

Schedule initial_schedule() {
  Schedule first;
  const char* const text = std::getenv("LOCKSTEP_CUDA_ON_CPU");
  const std::string value = text == nullptr ? "" : text;
  if (value.find("reverse") != std::string::npos) first.order = Order::kReverse;
  if (const size_t at = value.find("random:"); at != std::string::npos) {
    first.order = Order::kRandom;
    first.seed = std::strtoull(value.c_str() + at + 7, nullptr, 10);
  }
  if (const size_t at = value.find("fail:"); at != std::string::npos) {
    char* end = nullptr;
    first.fail_launch = std::strtoll(value.c_str() + at + 5, &end, 10);
    if (*end == ':') first.failure = std::atoi(end + 1);
  }
  first.peers = value.find("no-peers") == std::string::npos;
  first.eager_copies = value.find("eager") != std::string::npos;
  first.graphs = value.find("no-graphs") == std::string::npos;
  first.late = value.find("late") != std::string::npos;
  first.short_of_memory = value.find("short-of-memory") != std::string::npos;
  first.report = value.find("report") != std::string::npos;
  return first;
}

}  // namespace

thread_local int current_device = 0;
thread_local Extent current_thread, current_block, current_block_dim, current_grid_dim;

Schedule& schedule() {
  static Schedule value = initial_schedule();
  return value;
}

namespace {
std::atomic<int64_t> launches = 0;
std::atomic<int> spoiled_by = 0;

struct Graphs {
  std::atomic<int64_t> launched = 0;
  ~Graphs() {
    if (schedule().report) std::fprintf(stderr, "graphs launched: %lld\n", static_cast<long long>(launched));
  }
} graphs;
}  // namespace

void count_graph() { ++graphs.launched; }

// Illegal addresses and uncorrectable ECC errors stay; a launch that lacks resources or memory harms nobody else.
int count_launch() {
  if (launches.fetch_add(1) != schedule().fail_launch) return spoiled_by;
  const int failure = schedule().failure;
  if (failure == 700 || failure == 214) spoiled_by = failure;
  return failure;
}
int spoiled() { return spoiled_by; }

void run_grid(Extent grid, Extent block, size_t shared_bytes, const std::function<void()>& kernel) {
  machine.kernel = &kernel;
  machine.random_state = schedule().seed;
  current_block_dim = block;
  current_grid_dim = grid;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned i = 0; i < blocks; ++i) {
    const unsigned index = schedule().order == Order::kReverse ? blocks - 1 - i : i;
    current_block = {index % grid.x, index / grid.x % grid.y, index / (grid.x * grid.y)};
    run_block(block, shared_bytes);
  }
  machine.shared.reset();
  check_canaries();
}

void block_barrier() {
  machine.waiting_at_block.push_back(machine.current);
  release_block_barrier_if_complete();
  to_scheduler(false);
}

std::byte* shared_memory() { return machine.shared.get(); }

int lane_id() { return machine.current % kWarp; }

const std::byte* warp_exchange(const char* name, const void* mine, size_t bytes) {
  if (bytes > kLargestExchange) throw Violation(std::string(name) + ": too many bytes for the layer");
  const int self = machine.current;
  Warp& warp = machine.warps[static_cast<size_t>(self / kWarp)];
  if (warp.arrived > 0 && std::strcmp(warp.name, name) != 0)
    throw Violation(std::string("a warp's lanes diverged: ") + warp.name + " and " + name);
  if (warp.lanes != kWarp) throw Violation(std::string(name) + " in a warp that is not full");
  warp.name = name;
  std::byte* const values = warp.values[warp.parity];
  std::memcpy(values + static_cast<size_t>(self % kWarp) * bytes, mine, bytes);
  if (++warp.arrived < warp.lanes) {
    warp.waiting.push_back(self);
    to_scheduler(false);
  } else {
    warp.arrived = 0;
    warp.parity ^= 1;
    warp.waiting.push_back(self);
    make_ready(warp.waiting);
    to_scheduler(false);
  }
  return values;
}

void copy_async(void* to, const void* from, int valid) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (valid > 0 && reinterpret_cast<uintptr_t>(from) % 16 != 0))
    throw Violation("cp.async of 16 bytes at an address that is no multiple of 16");
  const Copy copy{static_cast<std::byte*>(to), static_cast<const std::byte*>(from), valid};
  if (schedule().eager_copies) return land(copy);
  std::memset(copy.to, 0xff, 16);  // until it lands, the place holds garbage
  machine.fibers[machine.current]->open_group.push_back(copy);
}

void commit_copies() {
  if (schedule().eager_copies) return;
  Fiber& fiber = *machine.fibers[machine.current];
  fiber.groups.push_back(std::move(fiber.open_group));
  fiber.open_group.clear();
}

void wait_copies(int newest_groups_left) {
  Fiber& fiber = *machine.fibers[machine.current];
  while (static_cast<int>(fiber.groups.size()) > newest_groups_left) {
    for (const Copy& copy : fiber.groups.front()) land(copy);
    fiber.groups.pop_front();
  }
}

namespace {

size_t free_bytes_locked(int device) { return kDeviceBytes - std::min(kDeviceBytes, allocated_bytes[device]); }

void* allocate_on(int device, size_t bytes) {
  const std::lock_guard lock(allocations_mutex);
  static int64_t until_failure = 0, failures = 0;
  if (schedule().short_of_memory && until_failure-- == 0) {
    until_failure = ++failures;
    return nullptr;
  }
  if (device >= 0 && bytes > free_bytes_locked(device)) return nullptr;
  auto* const memory = static_cast<std::byte*>(std::aligned_alloc(256, (bytes + 2 * kCanaryBytes + 255) / 256 * 256));
  if (memory == nullptr) return nullptr;
  std::memset(memory, static_cast<int>(kCanary), kCanaryBytes);
  std::memset(memory + kCanaryBytes + bytes, static_cast<int>(kCanary), kCanaryBytes);
  allocations[memory + kCanaryBytes] = {bytes, device};
  if (device >= 0) allocated_bytes[device] += bytes;
#if defined(__SANITIZE_ADDRESS__)  // reads, too, are found; check_canaries has nothing left to do
  __asan_poison_memory_region(memory, kCanaryBytes);
  __asan_poison_memory_region(memory + kCanaryBytes + bytes, kCanaryBytes);
#endif
  return memory + kCanaryBytes;
}

}  // namespace

size_t free_bytes() {
  const std::lock_guard lock(allocations_mutex);
  return free_bytes_locked(current_device);
}

void* allocate(size_t bytes) { return allocate_on(current_device, bytes); }
void* allocate_pinned(size_t bytes) { return allocate_on(-1, bytes); }

int device_of(const void* memory) {
  const std::lock_guard lock(allocations_mutex);
  const int device = allocations.at(static_cast<std::byte*>(const_cast<void*>(memory))).device;
  return device >= 0 ? device : current_device;
}

void release(void* memory) {
  if (memory == nullptr) return;
  const std::lock_guard lock(allocations_mutex);
  const Allocation& allocation = allocations.at(static_cast<std::byte*>(memory));
  if (allocation.device >= 0) allocated_bytes[allocation.device] -= allocation.bytes;
#if defined(__SANITIZE_ADDRESS__)
  const size_t bytes = allocations.at(static_cast<std::byte*>(memory)).bytes;
  __asan_unpoison_memory_region(static_cast<std::byte*>(memory) - kCanaryBytes, bytes + 2 * kCanaryBytes);
#endif
  allocations.erase(static_cast<std::byte*>(memory));
  std::free(static_cast<std::byte*>(memory) - kCanaryBytes);
}

void check_canaries() {
  const std::lock_guard lock(allocations_mutex);
#if !defined(__SANITIZE_ADDRESS__)
  const auto is_canary = [](std::byte b) { return b == kCanary; };
  for (const auto& [start, allocation] : allocations) {
    const std::byte* const end = start + allocation.bytes;
    if (!std::all_of(start - kCanaryBytes, start, is_canary) || !std::all_of(end, end + kCanaryBytes, is_canary))
      throw Violation("a kernel wrote outside an allocation of " + std::to_string(allocation.bytes) + " bytes");
  }
#endif
}

}  // namespace cuda_on_cpu
