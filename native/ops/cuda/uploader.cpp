#include "ops/cuda/uploader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>
#include <vector>

#include "ops/cuda/launch.h"

namespace lockstep::cuda {

Uploader::Uploader(int device, cudaStream_t stream) : device_(device), stream_(stream) {
  pinned_.at_least(kReaders * kBuffersEach * kBufferBytes);
}

Uploader::~Uploader() { cudaStreamSynchronize(stream_); }  // copies may be under way

void Uploader::copy(std::byte* to, size_t to_pitch, const std::byte* from, size_t from_pitch, size_t width,
                    size_t rows) {
  if (width == 0 || rows == 0) return;
  if (to_pitch == width && from_pitch == width) width *= rows, rows = 1;  // no gaps: it may be cut anywhere
  const size_t cols_each = std::min(width, kBufferBytes),
               rows_each = std::min(rows, kBufferBytes / cols_each);
  const size_t across = (width + cols_each - 1) / cols_each;
  const size_t pieces = across * ((rows + rows_each - 1) / rows_each);
  std::atomic<size_t> next = 0;
  const auto read = [&](size_t reader) {
    check(cudaSetDevice(device_), "choosing the device");
    size_t turn = 0;
    for (size_t piece = next++; piece < pieces; piece = next++, turn = (turn + 1) % kBuffersEach) {
      const size_t row = piece / across * rows_each, col = piece % across * cols_each;
      const size_t high = std::min(rows_each, rows - row), wide = std::min(cols_each, width - col);
      std::byte* const buffer = pinned_.data() + (reader * kBuffersEach + turn) * kBufferBytes;
      Event& fetched = fetched_[reader][turn];
      fetched.wait();
      for (size_t i = 0; i < high; ++i)
        std::memcpy(buffer + i * wide, from + (row + i) * from_pitch + col, wide);
      check(cudaMemcpy2DAsync(to + row * to_pitch + col, high == 1 ? wide : to_pitch, buffer, wide, wide,
                              high, cudaMemcpyHostToDevice, stream_),
            "copying weights");
      fetched.record(stream_);
    }
  };
  std::vector<std::future<void>> others;  // waited for in any case
  for (size_t reader = 1; reader < std::min(kReaders, pieces); ++reader)
    others.push_back(std::async(std::launch::async, read, reader));
  read(0);
  for (std::future<void>& other : others) other.get();
}

}  // namespace lockstep::cuda
