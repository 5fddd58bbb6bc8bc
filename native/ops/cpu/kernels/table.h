// What one instruction set offers: a table of plain functions over plain memory. The kernels behind it are
// written once (linear.h, norm.h, rope.h, attention.h, activation.h, softmax.h, as templates over a 16-lane
// Simd type) and compiled once per path (portable.cpp, avx512_bf16.cpp, ...).
//
// Rule for every file that a path's .cpp includes: intrinsics, <cstdint>, <cstddef>, <cstring> and plain
// structs only, and every function a template over the path's Simd type, which lives in an anonymous
// namespace. An inline function with linkage would be emitted by several paths and the linker would keep one:
// wrong bits, or SIGILL on an older CPU. tests/ops/isa-objects.test.ts looks for such symbols in the objects.
//
// Kernels are called by any worker thread, allocate nothing, throw nothing, and check nothing: the verbs did.
#pragma once
#include <cstdint>

#include "base/bfloat16.h"

namespace lockstep {

constexpr int kLinearTokens = 16;  // most tokens in one call of `linear`
constexpr int kLinearRows = 128;   // most weight rows in one call of `linear`

// y = x W^T for a block of tokens and a panel of weight rows, K summed as `parts` equal parts.
struct LinearBlock {
  float* y;           // out [tokens, rows]
  int64_t y_stride;   // elements, as the other strides
  const BFloat16* x;  // [tokens, k]
  int64_t x_stride;
  const BFloat16* w;  // [rows, k]
  int64_t w_stride;
  int tokens;  // 1 .. kLinearTokens
  int rows;    // 1 .. kLinearRows
  int64_t k;
  int parts;  // 1 or 2, divides k
};

constexpr int kKeysPerBlock = 16;   // = kBlockTokens = lanes
constexpr int kKeysPerSplit = 256;  // = kAttentionSplit
constexpr int kBlocksPerSplit = kKeysPerSplit / kKeysPerBlock;
constexpr int kAttentionQueries = 16;  // most queries in one call of `attention`
constexpr int kMaxHeadDim = 512;

// One worker's memory for `attention`. 64-byte alignment is for speed only.
struct AttentionScratch {
  alignas(64) float scores[kAttentionQueries][kKeysPerSplit];
  alignas(64) float split[kAttentionQueries][kMaxHeadDim];   // sum of p * V of the present split
  alignas(64) float output[kAttentionQueries][kMaxHeadDim];  // the same, of the splits so far
  float max[kAttentionQueries];
  float sum[kAttentionQueries];
};

// Attention of a few queries that share a sequence and a key-value head.
struct AttentionBlock {
  BFloat16* y[kAttentionQueries];        // out [d] each
  const BFloat16* q[kAttentionQueries];  // [d] each
  int32_t position[kAttentionQueries];   // the last key that each query sees; ascending
  int queries;                           // 1 .. kAttentionQueries
  const BFloat16* k;                     // this head's part of block 0: [d / 2, 16 keys, 2]
  const BFloat16* v;                     // same: [16 keys, d]
  int64_t block_stride;                  // elements from a block to the next
  const int32_t* blocks;                 // the sequence's block numbers
  int head_dim;                          // even, <= kMaxHeadDim
  float scale;
  AttentionScratch* scratch;
};

struct LogitStats {
  float max;
  int32_t argmax;  // lowest index on ties
  float sum;       // of exp(x - max) over the chunk, where it was asked for
  bool finite;     // no NaN and no infinity among x
};

struct Candidate {
  float value;
  int32_t token;
};

constexpr int kLogitChunk = 4096;  // tokens per chunk of log-sum-exp, by absolute token id
constexpr int kLogitGroup = 64;    // tokens per group of group_maxima

struct KernelTable {
  const char* name;

  void (*linear)(const LinearBlock& block);
  void (*round)(BFloat16* y, const float* x, int64_t n);  // y = bf16(x)
  // y = bf16(silu(bf16(gate)) * bf16(up))
  void (*silu_mul)(BFloat16* y, const float* gate, const float* up, int64_t n);
  void (*rms_norm)(BFloat16* y, const BFloat16* x, const BFloat16* weight, int64_t n, float eps);
  // residual = bf16(residual + bf16(sum)), then as rms_norm
  void (*add_norm)(BFloat16* residual, BFloat16* y, const float* sum, const BFloat16* weight, int64_t n,
                   float eps);
  void (*rotate)(BFloat16* x, const float* rope, int d);  // in place, one head; rope: d/2 cosines, d/2 sines
  void (*attention)(const AttentionBlock& block);

  // The logits of at most kLogitChunk tokens; every x is divided by `temperature` first (1 changes nothing).
  LogitStats (*logit_stats)(const float* x, int n, float temperature, bool want_sum);
  void (*group_maxima)(float* maxima, const float* x, int n, float temperature);  // one per kLogitGroup
  // Tokens with x / temperature >= threshold, ascending; returns how many. out holds n.
  int (*collect)(Candidate* out, const float* x, int n, float temperature, float threshold,
                 int32_t first_token);
  // Tokens that could win the exponential race against a score of `best`; see sampling.cpp. out holds n.
  int (*race_filter)(Candidate* out, const float* x, const uint32_t* words, int n, float temperature,
                     float best, float slack, int32_t first_token);

  void (*exp)(float* y, const float* x, int64_t n);  // the kernels' exponential; called by tests only
};

}  // namespace lockstep
