// JavaScript's arrays as views for a verb: in place for backends that compute in host memory, else copied to
// the device before the call and, results, copied back after it. One Stage a call; main thread.
#pragma once
#include <napi.h>

#include <memory>
#include <vector>

#include "ops/ops.h"

namespace lockstep::testing {

class Stage {
 public:
  // on_device: the backend's memory is not the host's (or is to be treated so).
  Stage(Ops& ops, bool on_device) : ops_(ops), on_device_(on_device) {}

  template <class T>
  Matrix<T> matrix(Matrix<T> host) {
    if (!on_device_ || host.data == nullptr) return host;
    // As model and place() lay rows out: at multiples of 16 bytes.
    constexpr int64_t kPiece = 16 / sizeof(T);
    const int64_t stride = (host.cols + kPiece - 1) / kPiece * kPiece;
    Matrix<T> device(reinterpret_cast<T*>(add(static_cast<size_t>(host.rows * stride) * sizeof(T))),
                     host.rows, host.cols, stride);
    const size_t bytes = static_cast<size_t>(host.cols) * sizeof(T);
    for (int64_t row = 0; row < host.rows; ++row) {
      ops_.upload(device.row(row), host.row(row), bytes);
      copies_.push_back({host.row(row), device.row(row), bytes});
    }
    return device;
  }

  template <class T>
  std::span<T> vector(std::span<T> host) {
    return {matrix(Matrix<T>(host.data(), 1, std::ssize(host))).data, host.size()};
  }

  KvLayer cache(KvLayer host) {
    const size_t size =
        static_cast<size_t>(host.num_blocks * kv_block_elements(host.kv_heads, host.head_dim));
    host.k = vector(std::span(host.k, size)).data();
    host.v = vector(std::span(host.v, size)).data();
    return host;
  }

  // The verb's results (and its inputs, unchanged) back to where JavaScript looks.
  void copy_back() {
    for (const Copy& copy : copies_) ops_.download(copy.host, copy.device, copy.bytes);
  }

 private:
  struct Copy {
    void* host;
    const void* device;
    size_t bytes;
  };
  std::byte* add(size_t bytes) {
    buffers_.push_back(ops_.allocate(bytes));
    return buffers_.back()->data();
  }

  Ops& ops_;
  const bool on_device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Copy> copies_;
};

}  // namespace lockstep::testing
