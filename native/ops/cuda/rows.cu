// Copies of rows (the embedding and the gathering of head rows), and sums of rows.
//
// Per call: 4 D bytes a row copied, 12 D a row added. Floor: memory bandwidth; at T = 1 the launch.
#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

// Grid: a block a row.
__global__ void copy_rows_kernel(Matrix<uint16_t> y, Matrix<const uint16_t> x, const int32_t* rows,
                                 const int32_t* sampled) {
  begin_kernel();
  int32_t row = rows[blockIdx.x];
  if (row < 0) row = sampled[-1 - row];
  const uint16_t* const from = x.data + int64_t{row < 0 ? 0 : row} * x.stride;
  uint16_t* const to = y.data + int64_t{blockIdx.x} * y.stride;
  for (int64_t i = threadIdx.x; i < x.cols; i += blockDim.x) to[i] = from[i];
}

// Grid: a block a row.
__global__ void add_rows_kernel(Matrix<float> y, Matrix<const float> x) {
  begin_kernel();
  float* const to = y.data + int64_t{blockIdx.x} * y.stride;
  const float* const from = x.data + int64_t{blockIdx.x} * x.stride;
  for (int64_t i = threadIdx.x; i < y.cols; i += blockDim.x) to[i] = to[i] + from[i];
}

}  // namespace

void add_rows(Matrix<float> y, Matrix<const float> x, Stream& stream) {
  launch({.name = "add_rows",
          .grid = dim3(static_cast<unsigned>(y.rows)),
          .block = dim3(256),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 12.0 * static_cast<double>(y.rows * y.cols),
          .flops = static_cast<double>(y.rows * y.cols)},
         add_rows_kernel, y, x);
}

void copy_rows(Matrix<uint16_t> y, Matrix<const uint16_t> x, const int32_t* rows, const int32_t* sampled,
               Stream& stream) {
  launch({.name = "copy_rows",
          .grid = dim3(static_cast<unsigned>(y.rows)),
          .block = dim3(128),
          .shared_bytes = 0,
          .stream = stream,
          .bytes = 4.0 * static_cast<double>(y.rows * y.cols),
          .flops = 0},
         copy_rows_kernel, y, x, rows, sampled);
}

}  // namespace lockstep::cuda
