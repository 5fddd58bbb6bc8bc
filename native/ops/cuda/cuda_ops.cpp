// Construction of the CUDA backend, its memory, and the step's arrays on their way to the device.
#include "ops/cuda/cuda_ops.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

// `held` counts the bytes of all buffers.
class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(size_t bytes, cudaStream_t stream, size_t& held) : memory_(bytes, false), held_(held) {
    if (bytes > 0) check(cudaMemsetAsync(memory_.data(), 0, bytes, stream), "zeroing memory");
    held_ += bytes;
  }
  ~DeviceBuffer() override { held_ -= size_bytes(); }
  std::byte* data() noexcept override { return memory_.data(); }
  size_t size_bytes() const noexcept override { return memory_.size_bytes(); }

 private:
  const Memory memory_;
  size_t& held_;
};

// Steps of at most so many tokens are replayed as graphs where they repeat: decoding. In larger ones the kernels
// take longer than their launches.
constexpr int64_t kKeptTokens = 64;
constexpr int64_t kPieceElements = 8;  // BF16 values in 16 bytes: placed rows start at multiples

}  // namespace

CudaOps::CudaOps(int device, std::string path, bool profile) : device_(device), path_(std::move(path)) {
  use_device();
  stream_.open(device_);
  linear_words_ = allocate(linear_words(stream_) * sizeof(uint32_t));
  if (profile) stream_.set_profiler(profiler_.emplace());
}

CudaOps::~CudaOps() {
  cudaSetDevice(device_);  // for the members
}

void CudaOps::use_device() const { check(cudaSetDevice(device_), "choosing the device"); }

void CudaOps::synchronize() {
  use_device();
  stream_.synchronize();
}

void CudaOps::wait() {
  synchronize();
  uploader_.reset();
}

std::vector<KernelProfile> CudaOps::profile() {
  if (!profiler_) return {};
  synchronize();
  return profiler_->collect();
}

std::unique_ptr<Buffer> CudaOps::allocate(size_t bytes) {
  use_device();
  return std::make_unique<DeviceBuffer>(bytes, stream_.get(), held_bytes_);
}

size_t CudaOps::held_bytes() const noexcept {
  size_t bytes = held_bytes_ + sampler_.device_bytes();
  for (const Growing* own : {&step_device_, &tiles_device_, &sampled_device_, &workspace_, &inv_freq_device_})
    bytes += own->size_bytes();
  return bytes;
}

size_t CudaOps::free_bytes() {
  use_device();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

void CudaOps::reserve(const StepLimits& limits) {
  use_device();
  const size_t tokens = static_cast<size_t>(limits.tokens), sequences = static_cast<size_t>(limits.sequences);
  const size_t blocks_each = static_cast<size_t>((limits.context + kBlockTokens - 1) / kBlockTokens);
  // As begin_step() packs them: slots; tokens, positions and head rows; block numbers.
  const size_t step_bytes =
      tokens * (sizeof(int64_t) + 3 * sizeof(int32_t)) + sequences * blocks_each * sizeof(int32_t);
  step_device_.at_least(step_bytes);
  tiles_device_.at_least(tokens * sizeof(AttentionTile));
  sampled_device_.at_least(tokens * sizeof(int32_t));
  for (OpenStep& step : steps_) {
    step.arrays.at_least(step_bytes);
    step.tiles.at_least(tokens * sizeof(AttentionTile));
    sampler_.reserve(step.samples, limits);
  }
  inv_freq_device_.at_least(static_cast<size_t>(limits.head_dim) / 2 * sizeof(float));
  workspace_.at_least(static_cast<size_t>(attention_workspace(most_partials(), limits.head_dim)) *
                      sizeof(float));
}

// Pinned host memory stays.
void CudaOps::release() {
  synchronize();
  for (Growing* own : {&step_device_, &tiles_device_, &sampled_device_, &workspace_, &inv_freq_device_})
    own->release();
  inv_freq_.clear();
  sampler_.release();
}

// Rows get a stride of whole 16 bytes, their tails are zero.
Matrix<const BFloat16> CudaOps::place(Matrix<const BFloat16> host) {
  auto& [buffer, stride] = placed_[{host.data, host.rows, host.cols, host.stride}];
  const bool known = buffer != nullptr;
  if (!known) {
    stride = (host.cols + kPieceElements - 1) / kPieceElements * kPieceElements;
    buffer = allocate(bf16_bytes(host.rows * stride));
  }
  const Matrix<const BFloat16> placed(reinterpret_cast<const BFloat16*>(buffer->data()), host.rows, host.cols,
                                      stride);
  return known ? placed : replace(placed, host);
}

Matrix<const BFloat16> CudaOps::replace(Matrix<const BFloat16> placed, Matrix<const BFloat16> host) {
  use_device();
  if (!uploader_) uploader_.emplace(device_, stream_.get());
  uploader_->copy(reinterpret_cast<std::byte*>(const_cast<BFloat16*>(placed.data)), bf16_bytes(placed.stride),
                  reinterpret_cast<const std::byte*>(host.data), bf16_bytes(host.stride),
                  bf16_bytes(host.cols), static_cast<size_t>(host.rows));
  return placed;
}

void CudaOps::fetch(Matrix<BFloat16> host, Matrix<const BFloat16> placed) {
  use_device();
  check(cudaMemcpy2DAsync(host.data, bf16_bytes(host.stride), placed.data, bf16_bytes(placed.stride),
                          bf16_bytes(host.cols), static_cast<size_t>(host.rows), cudaMemcpyDeviceToHost,
                          stream_.get()),
        "reading weights");
  synchronize();
}

void CudaOps::upload(void* device, const void* host, size_t bytes) {
  use_device();
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_.get()), "upload");
  synchronize();
}

void CudaOps::download(void* host, const void* device, size_t bytes) {
  use_device();
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_.get()), "download");
  synchronize();
}

// ---- the step's arrays ----

// Waits until the device has done with the step, and hands its results out.
void CudaOps::finish(OpenStep& step) {
  if (!step.open) return;
  if (&step == &steps_[turn_] && step.samples.empty())
    synchronize();  // nothing has marked its end yet
  else
    step.done.wait();
  step.samples.read();
  step.open = false;
}

void CudaOps::collect() {
  use_device();
  OpenStep& before = steps_[1 - turn_];
  finish(before.open ? before : steps_[turn_]);
}

void CudaOps::begin_step(const StepArrays& step) {
  use_device();
  stream_.begin_step(std::ssize(step.tokens) <= kKeptTokens);
  OpenStep& before = steps_[turn_];
  if (before.open && before.samples.empty()) before.done.record(stream_.get());  // else sample() has
  turn_ = 1 - turn_;
  OpenStep& mine = steps_[turn_];
  finish(mine);  // the step before the last; collected long ago, where somebody waits for results
  mine.open = true;
  const int32_t sampled = step_.sampled;
  step_ = {};
  step_.sampled_before = sampled;
  step_.host = step;
  blocks_.clear();
  slots_.assign(step.tokens.size(), -1);
  for (const SequenceSlice& s : step.sequences) {
    const int64_t end = int64_t{s.first_row} + s.num_tokens;
    if (s.num_tokens < 0 || s.start_position < 0 || s.first_row < 0)
      throw Error("ENGINE_FAILED", "begin_step: a sequence's rows or positions are negative");
    step_.block_offsets.push_back(static_cast<int32_t>(blocks_.size()));
    if (end > std::ssize(slots_)) slots_.resize(static_cast<size_t>(end), -1);
    if (s.num_tokens == 0) continue;
    const int32_t count = (s.start_position + s.num_tokens + kBlockTokens - 1) / kBlockTokens;
    blocks_.insert(blocks_.end(), s.blocks, s.blocks + count);
    for (int32_t t = 0; t < s.num_tokens; ++t) {
      const int32_t position = s.start_position + t, block = s.blocks[position / kBlockTokens];
      if (block < 0) throw Error("ENGINE_FAILED", "begin_step: a negative block number");
      step_.largest_block = std::max(step_.largest_block, block);
      slots_[static_cast<size_t>(s.first_row + t)] = int64_t{block} * kBlockTokens + position % kBlockTokens;
    }
  }
  step_.slot_count = std::ssize(slots_);

  struct Piece {
    const void* from;
    size_t bytes;
    const void** to;
  };
  const auto piece = [](const auto& list, auto& to) {
    return Piece{list.data(), list.size() * sizeof(list[0]), reinterpret_cast<const void**>(&to)};
  };
  const Piece pieces[] = {piece(slots_, step_.slots), piece(step.tokens, step_.tokens),
                          piece(step.positions, step_.positions), piece(step.head_rows, step_.head_rows),
                          piece(blocks_, step_.blocks)};
  size_t bytes = 0;
  for (const Piece& p : pieces) bytes += p.bytes;
  if (bytes == 0) return;
  std::byte *const host = mine.arrays.at_least(bytes), *const device = step_device_.at_least(bytes);
  size_t at = 0;
  for (const Piece& p : pieces) {  // slots first: the only 8-byte values
    if (p.bytes > 0) std::memcpy(host + at, p.from, p.bytes);
    *p.to = device + at;
    at += p.bytes;
  }
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_.ahead()),
        "sending a step's arrays");
}

void CudaOps::build_tiles(int32_t group, int32_t head_dim) {
  if (step_.tile_group == group) return;
  if (step_.tile_group != 0) synchronize();  // other tiles are in use
  step_.tile_group = group;
  tiles_.clear();
  const auto add = [&](bool wide) {
    const int32_t tile_tokens = std::max(1, (wide ? kWideRows : kNarrowRows) / group);
    double keys = 0;
    for (size_t i = 0; i < step_.host.sequences.size(); ++i) {
      const SequenceSlice& s = step_.host.sequences[i];
      if (wide != (head_dim <= kWideHeadDim && s.num_tokens * group > kNarrowRows)) continue;
      for (int32_t first = 0; first < s.num_tokens; first += tile_tokens) {
        const int32_t tokens = std::min(tile_tokens, s.num_tokens - first),
                      end = s.start_position + first + tokens;
        tiles_.push_back({s.first_row + first, tokens, s.start_position + first, step_.block_offsets[i]});
        keys += end;
        if (!wide)
          step_.max_splits = std::max(step_.max_splits, (end + kAttentionSplit - 1) / kAttentionSplit);
      }
    }
    return keys;
  };
  step_.max_splits = 0;
  step_.narrow_keys = add(false);
  step_.narrow_tiles = static_cast<int32_t>(tiles_.size());
  step_.wide_keys = add(true);
  step_.wide_tiles = static_cast<int32_t>(tiles_.size()) - step_.narrow_tiles;
  // The longest first: they take longest.
  std::sort(tiles_.begin() + step_.narrow_tiles, tiles_.end(),
            [](const AttentionTile& a, const AttentionTile& b) { return a.position > b.position; });
  // In powers of two, so that few steps differ by it; blocks of splits that no tile has end at once.
  step_.max_splits = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(step_.max_splits)));
  const size_t bytes = tiles_.size() * sizeof(AttentionTile);
  if (bytes == 0) return;
  Growing& host = steps_[turn_].tiles;
  std::memcpy(host.at_least(bytes), tiles_.data(), bytes);
  check(cudaMemcpyAsync(tiles_device_.at_least(bytes), host.data(), bytes, cudaMemcpyHostToDevice,
                        stream_.ahead()),
        "sending tiles");
}

std::unique_ptr<Ops> make_cuda_ops(int device, const std::string& path, bool profile) {
  return std::make_unique<CudaOps>(device, path, profile);
}

}  // namespace lockstep::cuda
