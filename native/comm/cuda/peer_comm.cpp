// A worker's call launches a kernel on its own stream and returns: the kernel meets the other device's. No host
// thread waits for another here; a worker that gives up sets a word that every waiting kernel polls.
#include "comm/cuda/peer_comm.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "comm/cuda/peer_kernels.h"
#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/launch.h"

namespace lockstep::cuda {
namespace {

constexpr int kWorkers = 2;  // the contract's R_max

// Zeroed memory of one device, or of the host where both devices must reach it.
class Memory {
 public:
  Memory(size_t bytes, int device, bool on_host) : bytes_(bytes), device_(device), on_host_(on_host) {
    check(cudaSetDevice(device_), "choosing the device");
    if (on_host_)
      check(cudaHostAlloc(&data_, bytes, cudaHostAllocPortable | cudaHostAllocMapped),
            "pinned host memory for collectives");
    else
      check_memory(cudaMalloc(&data_, bytes), bytes, "collectives");
    check(cudaMemset(data_, 0, bytes), "zeroing memory for collectives");
  }
  ~Memory() {
    cudaSetDevice(device_);
    if (on_host_)
      cudaFreeHost(data_);
    else
      cudaFree(data_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t device_bytes() const { return on_host_ ? 0 : bytes_; }

 private:
  const size_t bytes_;
  const int device_;
  const bool on_host_;
  void* data_ = nullptr;
};

// Whether each device reads and writes the other's memory from now on.
bool connect(std::span<const int> devices) {
  for (int i = 0; i < kWorkers; ++i) {
    int can = 0;
    check(cudaDeviceCanAccessPeer(&can, devices[i], devices[1 - i]), "asking for peer access");
    if (can == 0) return false;
  }
  for (int i = 0; i < kWorkers; ++i) {
    check(cudaSetDevice(devices[i]), "choosing the device");
    const cudaError_t error = cudaDeviceEnablePeerAccess(devices[1 - i], 0);
    if (error == cudaErrorPeerAccessAlreadyEnabled)
      (void)cudaGetLastError();
    else
      check(error, "enabling peer access");
  }
  return true;
}

class PeerGroup final : public CommGroup {
 public:
  PeerGroup(std::span<const int> devices, const CommLimits& limits)
      : buffer_bytes_((std::max(all_reduce_bytes(limits.sum_elements),
                                static_cast<size_t>(limits.part_elements) * sizeof(float)) +
                       255) /
                      256 * 256) {
    const bool on_host = !connect(devices);
    abandoned_ = std::make_unique<Memory>(sizeof(uint32_t), devices[0], true);
    for (int i = 0; i < kWorkers; ++i) {
      buffers_[i] = std::make_unique<Memory>(2 * buffer_bytes_, devices[i], on_host);
      words_[i] = std::make_unique<Memory>(2 * kPeerBlocks * sizeof(uint32_t), devices[i], on_host);
      rounds_[i] = std::make_unique<Memory>(2 * sizeof(uint32_t), devices[i], false);
    }
  }

  size_t device_bytes() const noexcept override {
    size_t bytes = 0;
    for (const auto* const memories : {&buffers_, &words_, &rounds_})
      for (const auto& memory : *memories) bytes += memory->device_bytes();
    return bytes;
  }

  std::unique_ptr<Comm> comm(int worker, Ops& ops) override;

  Exchange exchange(int worker) const {
    const auto words = [&](int of) { return reinterpret_cast<uint32_t*>(words_[of]->data()); };
    return {.first = worker == 0,
            .buffer_bytes = static_cast<int64_t>(buffer_bytes_),
            .mine = buffers_[worker]->data(),
            .theirs = buffers_[1 - worker]->data(),
            .arrived = words(worker),
            .told = words(1 - worker),
            .abandoned = abandoned_word(),
            .rounds = reinterpret_cast<uint32_t*>(rounds_[worker]->data())};
  }
  void abandon() noexcept { std::atomic_ref(*abandoned_word()).store(1, std::memory_order_release); }
  bool is_abandoned() const {
    return std::atomic_ref(*abandoned_word()).load(std::memory_order_acquire) != 0;
  }

 private:
  uint32_t* abandoned_word() const { return reinterpret_cast<uint32_t*>(abandoned_->data()); }

  const size_t buffer_bytes_;
  std::unique_ptr<Memory> abandoned_;  // a word of host memory
  std::array<std::unique_ptr<Memory>, kWorkers> buffers_, words_, rounds_;
};

class PeerComm final : public Comm {
 public:
  PeerComm(PeerGroup& group, int worker, CudaOps& ops) : group_(group), worker_(worker), ops_(ops) {}

  void all_reduce(Matrix<float> sum) override { cuda::all_reduce(sum, next(), ops_.stream()); }

  void gather_columns(Matrix<float> whole, Matrix<const float> part) override {
    cuda::gather_columns(whole, part, next(), ops_.stream());
  }

  void abandon() noexcept override { group_.abandon(); }

 private:
  Exchange next() {
    if (group_.is_abandoned()) throw PeerFailed();
    return group_.exchange(worker_);
  }

  PeerGroup& group_;
  const int worker_;
  CudaOps& ops_;
};

std::unique_ptr<Comm> PeerGroup::comm(int worker, Ops& ops) {
  return std::make_unique<PeerComm>(*this, worker, static_cast<CudaOps&>(ops));
}

}  // namespace

std::unique_ptr<CommGroup> make_peer_group(std::span<const int> devices, const CommLimits& limits) {
  if (devices.size() != kWorkers) throw Error("ENGINE_FAILED", "a peer group has two devices");
  return std::make_unique<PeerGroup>(devices, limits);
}

}  // namespace lockstep::cuda
