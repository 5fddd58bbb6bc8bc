// Copies of rows: the embedding and the gathering of head rows.
//
// Per call: 4 D bytes a row. Floor: memory bandwidth; at T = 1 the launch.
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

// Grid: a block a row.
__global__ void copy_rows_kernel(Matrix<uint16_t> y, Matrix<const uint16_t> x,
                                 const int32_t* __restrict__ rows) {
  const uint16_t* const from = x.data + int64_t{rows[blockIdx.x]} * x.stride;
  uint16_t* const to = y.data + int64_t{blockIdx.x} * y.stride;
  for (int64_t i = threadIdx.x; i < x.cols; i += blockDim.x) to[i] = from[i];
}

}  // namespace

void copy_rows(Matrix<uint16_t> y, Matrix<const uint16_t> x, const int32_t* rows, cudaStream_t stream) {
  launch({.name = "copy_rows",
          .grid = dim3(static_cast<unsigned>(y.rows)),
          .block = dim3(128),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 4.0 * static_cast<double>(y.rows * y.cols),
          .flops = 0},
         copy_rows_kernel, y, x, rows);
}

}  // namespace lockstep::cuda
