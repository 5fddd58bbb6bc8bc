// The host-execution layer's own test: small kernels, right ones and ones with a planted mistake of every kind that the
// layer claims to find. Prints a line a case; exits with 1 where one went wrong. With an argument it makes that mistake
// and nothing else: for mistakes that only a sanitizer build finds, by ending the process.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fibers.h"
#include "ops/cuda/ptx.h"

namespace {

using namespace lockstep::cuda;
using cuda_on_cpu::Order;
using cuda_on_cpu::Violation;

int failures = 0;

void expect(bool right, const std::string& name) {
  std::printf("%s %s\n", right ? "ok    " : "FAILED", name.c_str());
  failures += right ? 0 : 1;
}

const std::vector<cuda_on_cpu::Schedule> kSchedules = {
    {Order::kForward, 1, false}, {Order::kReverse, 1, false}, {Order::kRandom, 1, false},
    {Order::kRandom, 2, false},  {Order::kRandom, 3, true},   {Order::kForward, 1, true},
};

// Whether `run` gives what it should under every schedule, without a Violation.
bool right_always(const std::function<bool()>& run) {
  bool right = true;
  for (const auto& one : kSchedules) {
    cuda_on_cpu::schedule() = one;
    try {
      right = run() && right;
    } catch (const Violation&) {
      right = false;
    }
  }
  cuda_on_cpu::schedule() = {};
  return right;
}

// The memory of one test; "device" memory with canaries.
template <class T>
struct Device {
  explicit Device(size_t count_) : count(count_) {
    cudaMalloc(reinterpret_cast<void**>(&data), count * sizeof(T));
    for (size_t i = 0; i < count; ++i) data[i] = T{};
  }
  ~Device() { cudaFree(data); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  T* data = nullptr;
  size_t count;
};

template <class... Parameters, class... Arguments>
void run(void (*kernel)(Parameters...), int threads, size_t shared, Arguments... arguments) {
  cudaLaunchConfig_t config;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  cudaLaunchKernelEx(&config, kernel, arguments...);
}

// ---- barriers ----

template <bool kBarrier>
__global__ void reverse_kernel(int* data) {
  int* const shared = dynamic_shared<int>();
  const unsigned i = threadIdx.x, n = blockDim.x;
  shared[i] = data[i];
  if (kBarrier) __syncthreads();
  data[i] = shared[n - 1 - i];
}

template <bool kBarrier>
__global__ void neighbour_kernel(int* data) {  // within a warp
  int* const shared = dynamic_shared<int>();
  const unsigned i = threadIdx.x;
  shared[i] = data[i];
  if (kBarrier) __syncwarp();
  data[i] = shared[i ^ 1];
}

bool permutes(void (*kernel)(int*), int threads, const std::function<int(int)>& from) {
  Device<int> data(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) data.data[i] = 100 + i;
  run(kernel, threads, static_cast<size_t>(threads) * sizeof(int), data.data);
  for (int i = 0; i < threads; ++i)
    if (data.data[i] != 100 + from(i)) return false;
  return true;
}

__global__ void half_barrier_kernel(int*) {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void diverged_kernel(int* data) {
  if (threadIdx.x < 16)
    __syncwarp();
  else
    data[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}

// ---- cp.async ----

enum class Wait { kRight, kNone, kLate, kOverwritten };

template <Wait kWait>
__global__ void copy_kernel(int* to, const int* from) {
  int* const shared = dynamic_shared<int>();
  const unsigned i = threadIdx.x;
  copy_async_16(shared + 4 * i, from + 4 * i, 16);
  commit_copies();
  if (kWait == Wait::kRight) wait_copies<0>();
  if (kWait == Wait::kOverwritten) {  // the next copy goes to a buffer that is still to be read
    wait_copies<0>();
    copy_async_16(shared + 4 * i, from + 4 * (i ^ 1), 16);
    commit_copies();
  }
  for (unsigned j = 0; j < 4; ++j) to[4 * i + j] = shared[4 * i + j];
  if (kWait == Wait::kLate || kWait == Wait::kOverwritten) wait_copies<0>();
}

template <Wait kWait>
bool copies() {
  Device<int> from(32 * 4), to(32 * 4);
  for (int i = 0; i < 128; ++i) from.data[i] = i;
  run(copy_kernel<kWait>, 32, 512, to.data, from.data);
  for (int i = 0; i < 128; ++i)
    if (to.data[i] != i) return false;
  return true;
}

// ---- fragments ----

enum class Fault { kNone, kRowsSwapped, kColumnsByThread, kHalvesSwapped };

// y [16, 8] = a [16, 16] b^T, b [8, 16]. By ldmatrix, or by the documented layout element by element.
template <bool kLdmatrix, Fault kFault>
__global__ void multiply_kernel(float* y, const uint16_t* a, const uint16_t* b) {
  uint16_t* const shared = dynamic_shared<uint16_t>();
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (unsigned i = lane; i < 256; i += 32) shared[i] = a[i];
  for (unsigned i = lane; i < 128; i += 32) shared[256 + i] = b[i];
  __syncwarp();
  uint32_t fa[4], fb[2];
  if (kLdmatrix) {
    const unsigned row = kFault == Fault::kRowsSwapped ? lane / 2 : lane % 16;
    ldmatrix_x4(fa, shared + row * 16 + lane / 16 * 8);
    ldmatrix_x2(fb, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
  } else {
    const auto pair = [&](unsigned at) { return static_cast<uint32_t>(shared[at]) | static_cast<uint32_t>(shared[at + 1]) << 16; };
    for (unsigned i = 0; i < 4; ++i) fa[i] = pair((g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8);
    const unsigned column = kFault == Fault::kColumnsByThread ? t : g;
    for (unsigned i = 0; i < 2; ++i) fb[i] = pair(256 + column * 16 + 2 * t + i * 8);
  }
  if (kFault == Fault::kHalvesSwapped) std::swap(fa[1], fa[2]);
  float d[4] = {};
  mma_bf16(d, fa, fb);
  for (unsigned i = 0; i < 4; ++i) y[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

template <bool kLdmatrix, Fault kFault>
bool multiplies() {
  Device<uint16_t> a(256), b(128);
  Device<float> y(128);
  const auto small = [](int i) { return static_cast<float>(i * 37 % 23 - 11); };
  const auto bits = [](float x) {
    uint32_t word;
    std::memcpy(&word, &x, sizeof(word));
    return static_cast<uint16_t>(word >> 16);
  };
  for (int i = 0; i < 256; ++i) a.data[i] = bits(small(i));
  for (int i = 0; i < 128; ++i) b.data[i] = bits(small(i + 5));
  run(multiply_kernel<kLdmatrix, kFault>, 32, 768, y.data, a.data, b.data);
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += small(row * 16 + k) * small(column * 16 + k + 5);
      if (y.data[row * 8 + column] != sum) return false;
    }
  }
  return true;
}

// ---- memory ----

__global__ void write_kernel(int* data, int offset) { data[offset] = 1; }
__global__ void read_kernel(int* data, int offset) { data[0] = data[offset]; }
__global__ void write_shared_kernel(int offset) { dynamic_shared<int>()[offset] = 1; }

bool writes(int offset) {
  Device<int> data(10);
  run(write_kernel, 1, 0, data.data, offset);
  return true;
}

void make_mistake(const std::string& name) {
  Device<int> data(10);
  if (name == "write-beyond") run(write_kernel, 1, 0, data.data, 10);
  if (name == "read-beyond") run(read_kernel, 1, 0, data.data, 11);
  if (name == "write-before") run(write_kernel, 1, 0, data.data, -1);
  if (name == "shared-beyond") run(write_shared_kernel, 1, 40, 10);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    make_mistake(argv[1]);
    return 0;
  }
  const auto back = [](int threads) { return [threads](int i) { return threads - 1 - i; }; };
  const auto neighbour = [](int i) { return i ^ 1; };
  for (const int threads : {32, 128, 1024})
    expect(right_always([&] { return permutes(reverse_kernel<true>, threads, back(threads)); }), "a block barrier");
  expect(right_always([&] { return permutes(neighbour_kernel<true>, 64, neighbour); }), "a warp barrier");
  expect(right_always(copies<Wait::kRight>), "cp.async and its wait");
  expect(right_always(multiplies<true, Fault::kNone>), "ldmatrix and mma");
  expect(right_always(multiplies<false, Fault::kNone>), "mma with fragments put together by hand");
  expect(right_always([] { return writes(9); }), "a write to the last element");

  expect(!right_always([&] { return permutes(reverse_kernel<false>, 128, back(128)); }), "finds a missing block barrier");
  expect(!right_always([&] { return permutes(neighbour_kernel<false>, 64, neighbour); }), "finds a missing warp barrier");
  expect(!right_always([] { return run(half_barrier_kernel, 64, 0, static_cast<int*>(nullptr)), true; }),
         "finds a barrier that half of the threads pass by");
  expect(!right_always([] {
           Device<int> data(32);
           return run(diverged_kernel, 32, 0, data.data), true;
         }),
         "finds a warp at two instructions");
  expect(!right_always(copies<Wait::kNone>), "finds a copy never waited for");
  expect(!right_always(copies<Wait::kLate>), "finds a copy read before its wait");
  expect(!right_always(copies<Wait::kOverwritten>), "finds a copy into a buffer that is still read");
  expect(!right_always(multiplies<true, Fault::kRowsSwapped>), "finds wrong row addresses of ldmatrix");
  expect(!right_always(multiplies<false, Fault::kColumnsByThread>), "finds a wrong column fragment");
  expect(!right_always(multiplies<true, Fault::kHalvesSwapped>), "finds a wrong order of fragment registers");
#if !defined(__SANITIZE_ADDRESS__)  // there, these end the process
  expect(!right_always([] { return writes(10); }), "finds a write behind an allocation");
  expect(!right_always([] { return writes(-1); }), "finds a write before an allocation");
#endif
  return failures == 0 ? 0 : 1;
}
