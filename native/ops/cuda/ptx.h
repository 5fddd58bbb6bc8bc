// Every PTX instruction that the kernels use, as a function: but for Hopper's own (wgmma.cuh) the only file with
// inline assembly, so that tests/cuda-on-cpu can put its own in this one's place. Device code only.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace lockstep::cuda {

// The block's dynamic shared memory, as a kernel's own struct.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char lockstep_shared[];
  return reinterpret_cast<T*>(lockstep_shared);
}

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// cp.async: 16 bytes to shared memory, of which the first `valid_bytes` come from `from`, the rest are zeros.
// Both addresses are multiples of 16; where valid_bytes is 0, nothing is read.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, int valid_bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid_bytes)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// This thread's copies have landed, but for the newest groups named; other threads' need a barrier after it.
template <int NewestGroupsLeft>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(NewestGroupsLeft) : "memory");
}

// Where kernels overlap (sm_90 and later): the next one on the stream may begin, as soon as every block has said so;
// and everything that the ones before have written is there. Every kernel waits, so "before" goes all the way back.
__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// What a kernel without anything to do before the earlier ones have ended begins with.
__device__ __forceinline__ void begin_kernel() {
  let_next_begin();
  wait_for_earlier();
}

// A word that another device reads or writes, ordered against all memory of the system: what the writer wrote
// before release_system() is seen by whoever has read the word with acquire_system().
__device__ __forceinline__ void release_system(uint32_t* word, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t acquire_system(const uint32_t* word) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}
// The same among the blocks of one device.
__device__ __forceinline__ void release_device(uint32_t* word, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t acquire_device(const uint32_t* word) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}
// A moment's rest in a loop that polls.
__device__ __forceinline__ void rest() { asm volatile("nanosleep.u32 40;" ::: "memory"); }

// a * b + c with one rounding. Everything else is compiled with --fmad=false.
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }

// Two floats rounded to BF16, to nearest, ties to even; NaN is the canonical one. `low` in the lower half.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// 8 x 8 matrices of 16-bit elements: lane i gives the address of row i % 8 of matrix i / 8, and gets elements
// 2 (i % 4), 2 (i % 4) + 1 of row i / 4 of each.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same, each matrix transposed: elements of rows 2 (i % 4), 2 (i % 4) + 1 in column i / 4.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// d += a b: a [16 rows, 16 k], b [16 k, 8 columns]. With g = lane / 4 and t = lane % 4, pairs of k:
// a[0] row g, k 2t; a[1] row g + 8, k 2t; a[2] row g, k 2t + 8; a[3] row g + 8, k 2t + 8; b[0] column g, k
// 2t; b[1] column g, k 2t + 8; d[0], d[1] row g, columns 2t, 2t + 1; d[2], d[3] row g + 8.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, "
      "%1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace lockstep::cuda
