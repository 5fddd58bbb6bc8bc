// Collectives of two devices over memory that both reach: each writes what the other needs into a buffer of its
// own, says so in a word of the other's, waits for the other's word, and reads.
//
// A launch cuts its elements into slices, a block each; block i of one device waits for block i of the other
// alone, so blocks need not wait for each other. Both sides cut alike. Nobody waits for ever: every poll looks
// at `abandoned` too, and then the kernel ends with its results unfinished.
//
// Why two buffers in turn are enough: a device writes a buffer of round k + 2 only after its round k + 1 has
// ended, which the other's k + 1 has answered, and that one began when the other's round k had ended its reads.
//
// Per call over n elements: small, 4 n bytes from the peer in one exchange; large, 2 n for its share of the
// sums, rounded once to BF16, and n for the other share in a second exchange. What follows a sum rounds it to
// BF16 first (add_norm), so both are the same bits. Floor: latency of two words when small (about 5 us over
// NVLink), the link's bandwidth when large.
#include "comm/cuda/peer_kernels.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/scalar.cuh"

namespace lockstep::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kLarge = 1 << 17;          // elements, from which on the sums are shared out
constexpr int64_t kElementsPerBlock = 2048;  // fewer are not worth a block

// ---- kernels ----

struct Slice {
  int64_t begin, end;
  __device__ Slice(int64_t from, int64_t to) {
    const int64_t n = to - from, block = blockIdx.x, blocks = gridDim.x;
    begin = from + n * block / blocks;
    end = from + n * (block + 1) / blocks;
  }
};

// The round that a launch takes part in. Both sides make the same calls, so both count alike.
struct Round {
  uint32_t number;
  std::byte* mine;
  const std::byte* theirs;
  __device__ explicit Round(const Exchange& e) {
    number = *e.rounds + 1;
    mine = e.mine + number % 2 * e.buffer_bytes;
    theirs = e.theirs + number % 2 * e.buffer_bytes;
  }
};

// The last block to leave counts the round: by then every block has read the number.
__device__ void leave(const Exchange& e, const Round& round) {
  __syncthreads();
  if (threadIdx.x != 0 || atomicAdd(e.rounds + 1, 1u) + 1 != gridDim.x) return;
  e.rounds[1] = 0;
  e.rounds[0] = round.number;
}

// Tells the peer's block, waits until it has told us the same; false where it never will. `phase`: 0 or 1.
__device__ bool meet(const Exchange& e, const Round& round, int phase) {
  auto& answered = *dynamic_shared<int>();
  __syncthreads();  // the block's writes are done
  if (threadIdx.x == 0) {
    const int word = phase * kPeerBlocks + static_cast<int>(blockIdx.x);
    release_system(e.told + word, round.number);
    bool here = false;
    while (!(here = static_cast<int32_t>(acquire_system(e.arrived + word) - round.number) >= 0) &&
           acquire_system(e.abandoned) == 0)
      rest();
    answered = here;
  }
  __syncthreads();
  const bool result = answered != 0;
  __syncthreads();  // before `answered` is used again
  return result;
}

__device__ __forceinline__ float& at(const Matrix<float>& m, int64_t i) {
  return m.data[m.stride == m.cols ? i : i / m.cols * m.stride + i % m.cols];
}

__global__ void __launch_bounds__(kThreads, 1) exchange_sums_kernel(Matrix<float> sum, const Exchange e) {
  begin_kernel();
  const Round round(e);
  float* const mine = reinterpret_cast<float*>(round.mine);
  const float* const theirs = reinterpret_cast<const float*>(round.theirs);
  const Slice slice(0, sum.rows * sum.cols);
  for (int64_t i = slice.begin + threadIdx.x; i < slice.end; i += kThreads) mine[i] = at(sum, i);
  if (!meet(e, round, 0)) return;
  for (int64_t i = slice.begin + threadIdx.x; i < slice.end; i += kThreads) {
    const float own = at(sum, i), other = theirs[i];
    at(sum, i) = e.first != 0 ? own + other : other + own;
  }
  leave(e, round);
}

// Worker 0 adds the first half of the elements, worker 1 the second.
__global__ void __launch_bounds__(kThreads, 1) share_sums_kernel(Matrix<float> sum, const Exchange e) {
  begin_kernel();
  const Round round(e);
  const int64_t n = sum.rows * sum.cols, middle = n / 2;
  const Slice own = e.first != 0 ? Slice(0, middle) : Slice(middle, n);
  const Slice other = e.first != 0 ? Slice(middle, n) : Slice(0, middle);
  float* const mine = reinterpret_cast<float*>(round.mine);
  const float* const theirs = reinterpret_cast<const float*>(round.theirs);
  Bf16* const rounded = reinterpret_cast<Bf16*>(mine + n);
  const Bf16* const their_rounded = reinterpret_cast<const Bf16*>(theirs + n);
  // The peer's block i reads what block i writes: its own slice is our other one.
  for (int64_t i = other.begin + threadIdx.x; i < other.end; i += kThreads) mine[i] = at(sum, i);
  if (!meet(e, round, 0)) return;
  for (int64_t i = own.begin + threadIdx.x; i < own.end; i += kThreads) {
    const float a = at(sum, i), b = theirs[i];
    rounded[i] = round_bf16(e.first != 0 ? a + b : b + a);
    at(sum, i) = widen(rounded[i]);
  }
  if (!meet(e, round, 1)) return;
  for (int64_t i = other.begin + threadIdx.x; i < other.end; i += kThreads)
    at(sum, i) = widen(their_rounded[i]);
  leave(e, round);
}

__global__ void __launch_bounds__(kThreads, 1)
    gather_columns_kernel(Matrix<float> whole, Matrix<const float> part, const Exchange e) {
  begin_kernel();
  const Round round(e);
  const int64_t rows = part.rows, cols = part.cols;
  if (e.first == 0) {
    float* const mine = reinterpret_cast<float*>(round.mine);
    const Slice slice(0, rows * cols);
    for (int64_t i = slice.begin + threadIdx.x; i < slice.end; i += kThreads)
      mine[i] = part.data[i / cols * part.stride + i % cols];
    if (meet(e, round, 0)) leave(e, round);
    return;
  }
  const Slice own(0, rows * cols), other(0, rows * (whole.cols - cols));
  for (int64_t i = own.begin + threadIdx.x; i < own.end; i += kThreads)
    whole.data[i / cols * whole.stride + i % cols] = part.data[i / cols * part.stride + i % cols];
  if (!meet(e, round, 0)) return;
  const float* const theirs = reinterpret_cast<const float*>(round.theirs);
  const int64_t their_cols = whole.cols - cols;
  for (int64_t i = other.begin + threadIdx.x; i < other.end; i += kThreads)
    whole.data[i / their_cols * whole.stride + cols + i % their_cols] = theirs[i];
  leave(e, round);
}

// ---- launchers ----

// The grid is a function of sizes that both sides know.
Launch launch_of(const char* name, int64_t elements, double bytes, Stream& stream) {
  const int64_t blocks = (elements + kElementsPerBlock - 1) / kElementsPerBlock;
  return {.name = name,
          .grid = dim3(static_cast<unsigned>(blocks < kPeerBlocks ? blocks : kPeerBlocks)),
          .block = dim3(kThreads),
          .shared_bytes = sizeof(int),
          .stream = stream,
          .bytes = bytes,
          .flops = 0};
}

}  // namespace

size_t all_reduce_bytes(int64_t elements) {
  return static_cast<size_t>(elements) * (sizeof(float) + sizeof(uint16_t));
}

void all_reduce(Matrix<float> sum, const Exchange& exchange, Stream& stream) {
  const int64_t n = sum.rows * sum.cols;
  if (n < kLarge)
    launch(launch_of("exchange_sums", n, 16.0 * static_cast<double>(n), stream), exchange_sums_kernel, sum,
           exchange);
  else
    launch(launch_of("share_sums", n / 2, 11.0 * static_cast<double>(n), stream), share_sums_kernel, sum,
           exchange);
}

void gather_columns(Matrix<float> whole, Matrix<const float> part, const Exchange& exchange, Stream& stream) {
  // Worker 1's part: worker 0 knows its width from what is missing.
  const int64_t n = part.rows * (exchange.first != 0 ? whole.cols - part.cols : part.cols);
  launch(launch_of("gather_columns", n, 16.0 * static_cast<double>(n), stream), gather_columns_kernel, whole,
         part, exchange);
}

}  // namespace lockstep::cuda
