// The CPU's stand-in for native/ops/cuda/ptx.h: the same functions with the fragment layouts that the PTX manual
// documents. Arithmetic inside an mma is not the tensor core's: the 16 products and the addend are summed in double
// and rounded once.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>

#include "cuda_runtime.h"

namespace lockstep::cuda {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(cuda_on_cpu::shared_memory());
}

inline void copy_async_16(void* to, const void* from, int valid_bytes) { cuda_on_cpu::copy_async(to, from, valid_bytes); }
inline void commit_copies() { cuda_on_cpu::commit_copies(); }
template <int NewestGroupsLeft>
void wait_copies() {
  cuda_on_cpu::wait_copies(NewestGroupsLeft);
}

inline void let_next_begin() {}  // one kernel after the other here
inline void wait_for_earlier() {}
inline void begin_kernel() {}

inline void release_system(uint32_t* word, uint32_t value) {
  std::atomic_ref(*word).store(value, std::memory_order_release);
}
inline uint32_t acquire_system(const uint32_t* word) {
  return std::atomic_ref(*const_cast<uint32_t*>(word)).load(std::memory_order_acquire);
}
inline void release_device(uint32_t* word, uint32_t value) { release_system(word, value); }
inline uint32_t acquire_device(const uint32_t* word) { return acquire_system(word); }
inline void rest() { std::this_thread::yield(); }  // the other device is another OS thread

inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

inline uint32_t round_pair(float low, float high) {
  const auto rounded = [](float x) -> uint32_t {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return x != x ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
}

// A lane's row is read when that lane gets here, not when the last one does: rows that another lane's copies fill need
// a barrier before this, as on the device.
template <int Matrices>
void ldmatrix(const char* name, uint32_t (&r)[Matrices], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    throw cuda_on_cpu::Violation("ldmatrix of a row at an address that is no multiple of 16");
  const std::byte* const rows = cuda_on_cpu::warp_exchange(name, row, 16);
  const int lane = cuda_on_cpu::lane_id();
  for (int m = 0; m < Matrices; ++m) std::memcpy(&r[m], rows + (8 * m + lane / 4) * 16 + 4 * (lane % 4), 4);
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) { ldmatrix("ldmatrix.x4", r, row); }
inline void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    throw cuda_on_cpu::Violation("ldmatrix of a row at an address that is no multiple of 16");
  const std::byte* const rows = cuda_on_cpu::warp_exchange("ldmatrix.x4.trans", row, 16);
  const int lane = cuda_on_cpu::lane_id();
  for (int m = 0; m < 4; ++m)
    for (int half = 0; half < 2; ++half)
      std::memcpy(reinterpret_cast<std::byte*>(&r[m]) + 2 * half,
                  rows + (8 * m + 2 * (lane % 4) + half) * 16 + 2 * (lane / 4), 2);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* row) { ldmatrix("ldmatrix.x2", r, row); }

inline float bf16_half(uint32_t pair, int half) {
  const uint32_t bits = half == 0 ? pair << 16 : pair & 0xffff0000u;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Fragments {
    uint32_t a[4], b[2];
  } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto* const lanes =
      reinterpret_cast<const Fragments*>(cuda_on_cpu::warp_exchange("mma.m16n8k16", &mine, sizeof(mine)));
  const int group = cuda_on_cpu::lane_id() / 4, thread = cuda_on_cpu::lane_id() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = group + 8 * (i / 2), col = 2 * thread + i % 2;
    double sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const Fragments& from_a = lanes[row % 8 * 4 + k % 8 / 2];
      const Fragments& from_b = lanes[col * 4 + k % 8 / 2];
      sum += static_cast<double>(bf16_half(from_a.a[row / 8 + 2 * (k / 8)], k % 2)) *
             static_cast<double>(bf16_half(from_b.b[k / 8], k % 2));
    }
    d[i] = static_cast<float>(sum);
  }
}

}  // namespace lockstep::cuda
