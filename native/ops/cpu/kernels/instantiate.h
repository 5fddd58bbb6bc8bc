// The table of one path: every kernel, compiled for the Simd type S. Included last by each path's .cpp.
#pragma once
#include "ops/cpu/kernels/activation.h"
#include "ops/cpu/kernels/attention.h"
#include "ops/cpu/kernels/linear.h"
#include "ops/cpu/kernels/norm.h"
#include "ops/cpu/kernels/rope.h"
#include "ops/cpu/kernels/softmax.h"
#include "ops/cpu/kernels/table.h"

namespace lockstep {

template <class S>
constexpr KernelTable make_kernel_table(const char* name) {
  return {
      .name = name,
      .linear = LinearKernel<S>::linear,
      .round = ActivationKernel<S>::round,
      .silu_mul = ActivationKernel<S>::silu_mul,
      .rms_norm = NormKernel<S>::rms_norm,
      .add_norm = NormKernel<S>::add_norm,
      .rotate = RopeKernel<S>::rotate,
      .attention = AttentionKernel<S>::attention,
      .logit_stats = LogitKernel<S>::logit_stats,
      .group_maxima = LogitKernel<S>::group_maxima,
      .collect = LogitKernel<S>::collect,
      .race_filter = LogitKernel<S>::race_filter,
      .exp = ActivationKernel<S>::exp,
  };
}

}  // namespace lockstep
