// Times the CUDA backend's kernels on Qwen3's shapes, beside the read bandwidth of the device measured in the same
// run; writes one JSON object a line. scripts/gpu-check.sh builds and runs it; torch_peer.py measures the same
// shapes. With --check it compares the bits of the linear layers' tiles instead, and exits with 1 where they differ.
//
// Launches go through Stream as in the product. Weights rotate among buffers of more than four times the L2 cache.
// A figure is the median of rounds; each round is timed by events around enough launches to fill 2 ms or more.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ops/cuda/kernels.h"
#include "ops/cuda/launch.h"
#include "ops/ops.h"

namespace {

using namespace lockstep;
using namespace lockstep::cuda;

constexpr int kRounds = 7;

struct Shape {
  const char* model;
  int64_t hidden, mlp, heads, kv_heads;
};
constexpr Shape kShapes[] = {{"0.6B", 1024, 3072, 16, 8},
                             {"1.7B", 2048, 6144, 16, 8},
                             {"4B", 2560, 9728, 32, 8},
                             {"8B", 4096, 12288, 32, 8}};
constexpr int64_t kHeadDim = 128;

__global__ void fill_kernel(uint16_t* data, size_t count, uint32_t seed) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + seed;
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    // Sign, exponent from 2^-8 to 2^-5, mantissa.
    data[i] = static_cast<uint16_t>((x & 0x807fu) | (119 + (x >> 16) % 4) << 7);
  }
}

__global__ void read_kernel(const uint4* data, size_t count, unsigned* sink) {
  unsigned sum = 0;
  const size_t step = size_t{gridDim.x} * blockDim.x;
  size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = data[i], b = data[i + step], c = data[i + 2 * step], d = data[i + 3 * step];
    sum += (a.x ^ a.y ^ a.z ^ a.w) + (b.x ^ b.y ^ b.z ^ b.w) + (c.x ^ c.y ^ c.z ^ c.w) + (d.x ^ d.y ^ d.z ^ d.w);
  }
  if (sum == 0x12345678u) *sink = sum;
}

template <class T>
T* device_array(size_t count, uint32_t seed) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, count * sizeof(T)), "memory");
  fill_kernel<<<1024, 256>>>(static_cast<uint16_t*>(memory), count * sizeof(T) / 2, seed);
  check(cudaDeviceSynchronize(), "filling");
  return static_cast<T*>(memory);
}

// Seconds of one call: `run` makes `calls` of them.
double median_seconds(Stream& stream, int calls, const std::function<void(int)>& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<double> seconds;
  for (int round = 0; round <= kRounds; ++round) {
    check(cudaEventRecord(begin, stream.get()), "event");
    run(calls);
    check(cudaEventRecord(end, stream.get()), "event");
    stream.synchronize();
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    if (round > 0) seconds.push_back(static_cast<double>(ms) / 1e3 / calls);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

void print(const std::string& kernel, const std::string& shape, int64_t tokens, double seconds, double bytes,
           double flops) {
  std::printf(
      "{\"kernel\":\"%s\",\"shape\":\"%s\",\"tokens\":%lld,\"us\":%.2f,\"GBps\":%.1f,\"TFLOPps\":%.2f}\n",
      kernel.c_str(), shape.c_str(), static_cast<long long>(tokens), seconds * 1e6, bytes / seconds / 1e9,
      flops / seconds / 1e12);
  std::fflush(stdout);
}

class Bench {
 public:
  Bench() {
    check(cudaSetDevice(0), "device");
    stream_.open(0);
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, 0), "device");
    l2_bytes_ = static_cast<size_t>(p.l2CacheSize);
    pool_elements_ = std::max<size_t>(4 * l2_bytes_, size_t{640} << 20) / 2 + (size_t{160} << 20);
    pool_ = device_array<uint16_t>(pool_elements_, 1);
    x_ = device_array<uint16_t>(size_t{kTokens} * 12288, 2);
    y_ = device_array<float>(size_t{kTokens} * 24576, 3);
    const size_t words_bytes = linear_words(stream_) * sizeof(uint32_t);
    check(cudaMalloc(reinterpret_cast<void**>(&words_), words_bytes), "memory");
    check(cudaMemset(words_, 0, words_bytes), "zeroing memory");
    std::printf("{\"device\":\"%s\",\"multiprocessors\":%d,\"l2Bytes\":%zu}\n", p.name, p.multiProcessorCount,
                l2_bytes_);
  }

  void read_bandwidth() {
    const size_t bytes = size_t{2} << 30;
    auto* const data = device_array<uint4>(bytes / 16, 4);
    auto* const sink = device_array<unsigned>(1, 5);
    double best = 1e9;
    const auto multiprocessors = static_cast<unsigned>(stream_.multiprocessors());
    for (const unsigned blocks : {multiprocessors * 4, multiprocessors * 8, multiprocessors * 16}) {
      best = std::min(best, median_seconds(stream_, 4, [&](int calls) {
                        for (int i = 0; i < calls; ++i)
                          read_kernel<<<blocks, 512, 0, stream_.get()>>>(data, bytes / 16, sink);
                      }));
    }
    print("read", "2 GiB", 0, best, static_cast<double>(bytes), 0);
    cudaFree(data);
    cudaFree(sink);
  }

  // What loading is held against: copies from pinned memory.
  void link_bandwidth() {
    const size_t bytes = size_t{256} << 20;
    auto* const data = device_array<uint4>(bytes / 16, 6);
    void* pinned = nullptr;
    check(cudaMallocHost(&pinned, bytes), "pinned memory");
    const double seconds = median_seconds(stream_, 4, [&](int calls) {
      for (int i = 0; i < calls; ++i)
        check(cudaMemcpyAsync(data, pinned, bytes, cudaMemcpyHostToDevice, stream_.get()), "copy");
    });
    print("link", "256 MiB", 0, seconds, static_cast<double>(bytes), 0);
    cudaFree(data);
    cudaFreeHost(pinned);
  }

  void linear_layers() {
    const int64_t tokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 2048};
    for (const Shape& s : kShapes) {
      const int64_t q = s.heads * kHeadDim, kv = s.kv_heads * kHeadDim;
      for (const int64_t t : tokens) {
        one(s, "qkv", t, q + 2 * kv, s.hidden, 1, Kind::kRounded);
        one(s, "o", t, s.hidden, q, 2, Kind::kFloat);
        one(s, "gate_up", t, 2 * s.mlp, s.hidden, 1, Kind::kGateUp);
        one(s, "down", t, s.hidden, s.mlp, 2, Kind::kFloat);
        if (t < 32 || t > 256) continue;
        // Without a block for each part: what that is worth.
        uint32_t* const words = std::exchange(words_, nullptr);
        one(s, "o_unsplit", t, s.hidden, q, 2, Kind::kFloat);
        one(s, "down_unsplit", t, s.hidden, s.mlp, 2, Kind::kFloat);
        words_ = words;
      }
      for (const int64_t t : {1, 8, 64}) one(s, "head", t, 151936, s.hidden, 1, Kind::kFloat);
    }
  }

  void attentions() {
    for (const Shape& s : kShapes) {
      for (const int64_t context : {1024, 8192, 32768})
        for (const int64_t batch : {1, 8, 64}) decode_attention(s, batch, context);
      for (const int64_t length : {512, 2048, 8192}) prefill_attention(s, length);
    }
  }

  // Rows of the largest batch must have the bits of the same rows in smaller ones.
  bool same_bits() {
    bool same = true;
    for (const Shape& s : kShapes) {
      if (s.hidden > 2560) continue;
      for (const auto& [n, k, parts] : {std::tuple{s.hidden, s.mlp, 2}, std::tuple{3 * s.hidden, s.hidden, 1}}) {
        std::vector<float> largest;
        for (const int64_t t : {2048, 300, 256, 100, 64, 50, 32, 29, 16, 13, 8, 7, 1}) {
          LinearCall call = call_of(t, k, parts);
          call.rows[0] = {pool_, k, n, y_, n};
          linear(call, stream_);
          stream_.synchronize();
          std::vector<float> now(static_cast<size_t>(t * n));
          check(cudaMemcpy(now.data(), y_, now.size() * sizeof(float), cudaMemcpyDeviceToHost), "copy");
          if (largest.empty()) largest = now;
          size_t differ = 0;
          for (size_t i = 0; i < now.size(); ++i) differ += now[i] != largest[i] ? 1 : 0;
          if (differ > 0) std::printf("{\"differ\":\"%s %lld\",\"count\":%zu}\n", s.model, static_cast<long long>(t), differ);
          same = same && differ == 0;
        }
      }
    }
    std::printf("{\"sameBits\":%s}\n", same ? "true" : "false");
    return same;
  }

 private:
  static constexpr int64_t kTokens = 2048;
  enum class Kind { kFloat, kRounded, kGateUp };

  LinearCall call_of(int64_t tokens, int64_t k, int parts) const {
    LinearCall call;
    call.x = x_, call.x_stride = k, call.tokens = tokens, call.k = k, call.parts = parts;
    call.aligned = 1, call.words = words_;
    return call;
  }

  void one(const Shape& s, const char* name, int64_t tokens, int64_t n, int64_t k, int parts, Kind kind) {
    const size_t weights = static_cast<size_t>(n * k);
    const double bytes = 2.0 * static_cast<double>(weights), flops = bytes * static_cast<double>(tokens);
    const int calls = static_cast<int>(std::clamp(2e-3 / std::max(bytes / 3e12, flops / 3e14), 4.0, 400.0));
    size_t at = 0;
    const double seconds = median_seconds(stream_, calls, [&](int count) {
      for (int i = 0; i < count; ++i) {
        if (at + weights > pool_elements_) at = 0;
        const uint16_t* const w = pool_ + at;
        at += (weights + 63) / 64 * 64;
        LinearCall call = call_of(tokens, k, parts);
        if (kind == Kind::kGateUp) {
          call.rows[0] = {w, k, n / 2, y_, n / 2};
          call.rows[1] = {w + weights / 2, k, n / 2, y_, n / 2};
          linear_gate_up(call, stream_);
        } else {
          call.rows[0] = {w, k, n, y_, n};
          kind == Kind::kFloat ? linear(call, stream_) : linear_rounded(call, stream_);
        }
      }
    });
    print(name, s.model, tokens, seconds, bytes, flops);
  }

  struct Lists {
    int32_t* blocks;
    AttentionTile* tiles;
  };
  Lists send(const std::vector<int32_t>& blocks, const std::vector<AttentionTile>& tiles) {
    Lists lists;
    check(cudaMalloc(&lists.blocks, blocks.size() * 4), "memory");
    check(cudaMalloc(&lists.tiles, tiles.size() * sizeof(AttentionTile)), "memory");
    check(cudaMemcpy(lists.blocks, blocks.data(), blocks.size() * 4, cudaMemcpyHostToDevice), "copy");
    check(cudaMemcpy(lists.tiles, tiles.data(), tiles.size() * sizeof(AttentionTile), cudaMemcpyHostToDevice),
          "copy");
    return lists;
  }

  void attention_of(const Shape& s, const char* name, const std::string& shape, int64_t rows,
                    const std::vector<int32_t>& blocks, const std::vector<AttentionTile>& tiles, double keys,
                    double flop_keys, int64_t longest, int64_t pool_blocks) {
    const bool wide = rows > 1 && tiles[0].tokens > 1;
    const int64_t elements = pool_blocks * kv_block_elements(static_cast<int32_t>(s.kv_heads), kHeadDim);
    auto* const k = device_array<uint16_t>(static_cast<size_t>(elements), 7);
    auto* const v = device_array<uint16_t>(static_cast<size_t>(elements), 8);
    auto* const q = device_array<uint16_t>(static_cast<size_t>(rows * s.heads * kHeadDim), 9);
    auto* const y = device_array<uint16_t>(static_cast<size_t>(rows * s.heads * kHeadDim), 10);
    const Lists lists = send(blocks, tiles);
    AttentionCall call;
    call.y = {y, rows, s.heads * kHeadDim};
    call.q = {q, rows, s.heads * kHeadDim};
    call.cache = {k, v, static_cast<int32_t>(s.kv_heads), kHeadDim};
    call.blocks = lists.blocks;
    call.tiles = lists.tiles;
    call.tile_count = static_cast<int32_t>(tiles.size());
    call.max_splits = static_cast<int32_t>((longest + kAttentionSplit - 1) / kAttentionSplit);
    call.group = static_cast<int32_t>(s.heads / s.kv_heads);
    call.scale = 0.0884f;
    call.aligned = 1;
    call.workspace = nullptr;
    float* workspace = nullptr;
    const int64_t tasks = call.tile_count * s.kv_heads;
    if (!wide && call.max_splits > 1 && tasks < 4 * stream_.multiprocessors() && tasks * call.max_splits <= 64 * stream_.multiprocessors()) {
      check(cudaMalloc(&workspace, static_cast<size_t>(attention_workspace(tasks * call.max_splits, kHeadDim)) * 4),
            "memory");
      call.workspace = workspace;
    }
    const double seconds = median_seconds(stream_, 4, [&](int count) {
      for (int i = 0; i < count; ++i) attention(call, wide, keys, stream_);
    });
    print(name, shape, rows, seconds, 4.0 * keys * kHeadDim * static_cast<double>(s.kv_heads),
          4.0 * flop_keys * kHeadDim * static_cast<double>(s.heads));
    for (void* memory : {static_cast<void*>(k), static_cast<void*>(v), static_cast<void*>(q),
                         static_cast<void*>(y), static_cast<void*>(workspace), static_cast<void*>(lists.blocks),
                         static_cast<void*>(lists.tiles)})
      cudaFree(memory);
  }

  void decode_attention(const Shape& s, int64_t batch, int64_t context) {
    std::vector<int32_t> blocks;
    std::vector<AttentionTile> tiles;
    const int64_t each = context / kBlockTokens;
    for (int64_t i = 0; i < batch; ++i) {
      tiles.push_back({static_cast<int32_t>(i), 1, static_cast<int32_t>(context - 1),
                       static_cast<int32_t>(blocks.size())});
      for (int64_t b = 0; b < each; ++b) blocks.push_back(static_cast<int32_t>(i * each + b));
    }
    const double keys = static_cast<double>(batch * context);
    attention_of(s, "attention_decode", std::string(s.model) + " at " + std::to_string(context), batch, blocks,
                 tiles, keys, keys, context, batch * each);
  }

  void prefill_attention(const Shape& s, int64_t length) {
    std::vector<int32_t> blocks;
    std::vector<AttentionTile> tiles;
    for (int64_t b = 0; b < length / kBlockTokens; ++b) blocks.push_back(static_cast<int32_t>(b));
    const int64_t step = kWideRows / (s.heads / s.kv_heads);
    for (int64_t t = length - step; t >= 0; t -= step)
      tiles.push_back({static_cast<int32_t>(t), static_cast<int32_t>(step), static_cast<int32_t>(t), 0});
    attention_of(s, "attention_prefill", s.model, length, blocks, tiles, static_cast<double>(length),
                 0.5 * static_cast<double>(length * length), length, length / kBlockTokens);
  }

  Stream stream_;
  size_t l2_bytes_ = 0, pool_elements_ = 0;
  uint16_t *pool_ = nullptr, *x_ = nullptr;
  float* y_ = nullptr;
  uint32_t* words_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) {
  Bench bench;
  if (argc > 1 && std::string(argv[1]) == "--check") return bench.same_bits() ? 0 : 1;
  bench.read_bandwidth();
  bench.link_bandwidth();
  bench.linear_layers();
  bench.attentions();
}
