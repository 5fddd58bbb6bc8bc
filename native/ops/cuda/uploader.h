// Weights on their way to the device, through pinned buffers in turn: a few threads fill them from the host's memory
// (one alone reads the page cache slower than the link takes it), each one while the device fetches another.
//
// Owns the buffers, 16 MiB of pinned memory; lives while weights are loaded or replaced. Rank thread; its own threads
// end with each call.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>

#include "ops/cuda/memory.h"

namespace lockstep::cuda {

class Uploader {
 public:
  Uploader(int device, cudaStream_t stream);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // `rows` rows of `width` bytes, their starts `*_pitch` bytes apart. On return `from` has been read, and what is
  // put on the stream next finds the rows.
  void copy(std::byte* to, size_t to_pitch, const std::byte* from, size_t from_pitch, size_t width,
            size_t rows);

 private:
  static constexpr size_t kReaders = 4, kBuffersEach = 2;
  static constexpr size_t kBufferBytes = size_t{2} << 20;

  const int device_;
  const cudaStream_t stream_;
  const Memory pinned_;                    // [kReaders, kBuffersEach, kBufferBytes]
  Event fetched_[kReaders][kBuffersEach];  // the device has done with what the buffer held
};

}  // namespace lockstep::cuda
