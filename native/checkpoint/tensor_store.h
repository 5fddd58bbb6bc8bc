// A tensor table (names, types, shapes and byte ranges, made by src/checkpoint) and the memory behind it:
// mapped files, copies where the caller wants them or the type is not BF16, or, without files, memory that is
// written from outside. One thread at a time; read-only once loaded.
#pragma once
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/host_memory.h"
#include "base/mapped_file.h"
#include "ops/tensor.h"

namespace lockstep {

enum class StoredType : uint8_t { kBF16, kF16, kF32 };

struct TensorEntry {
  std::string name;  // as Hugging Face writes it, with "model."
  StoredType type = StoredType::kBF16;
  int32_t file = 0;  // index into TensorTable::files
  uint64_t offset_bytes = 0;
  std::vector<int64_t> shape;
};

struct CheckpointFile {
  std::string path;
  uint64_t size_bytes = 0;
  int64_t modified_ns = 0;  // 0: not known
};

struct TensorTable {
  std::vector<CheckpointFile> files;  // none: tensors have no place but the store's memory
  std::vector<TensorEntry> tensors;
};

class TensorStore {
 public:
  TensorStore() = default;  // of no tensors
  // Maps the files and reads nothing. Bounds are checked again here, against the mapped sizes: what
  // TypeScript found out is not trusted with memory. Throws Error("INVALID_CHECKPOINT"). Without files each
  // tensor gets memory of its own, BF16 and zero, committed as it is written; throws Error("OUT_OF_MEMORY").
  explicit TensorStore(TensorTable table);

  // Makes every tensor BF16, once: F16 and F32 are rounded (to nearest, ties to even), always as copies. With
  // `copy`, all tensors are copied and no file stays mapped. Views taken before are void. Throws
  // Error("ENGINE_CLOSED") within a few milliseconds of `cancel`, Error("INVALID_CHECKPOINT") where a file
  // changes meanwhile.
  void load(bool copy, const std::atomic<bool>& cancel);

  // Of a store without files: elements [first, ...) of a tensor from `bytes` of `type`, rounded as load()
  // does. Throws Error("INVALID_CHECKPOINT") at NaN and infinity.
  void write(const std::string& name, uint64_t first, StoredType type, std::span<const std::byte> bytes);

  // Reads everything. Throws as load(), and Error("INVALID_CHECKPOINT") at NaN and infinity.
  void check_finite(const std::atomic<bool>& cancel) const;

  // Throws Error("INVALID_CHECKPOINT") where a file changed since it was mapped: what was read cannot be
  // believed.
  void check_loaded() const;

  // Everything has been copied to a device: files are closed, copies freed, views void. Throws as
  // check_loaded().
  void release();

  // Throw Error("ENGINE_FAILED") where a mapped file has been written to: the first asks the file system
  // (some microseconds a file), the second tells whether a read has found a part of a file gone. In that
  // order a step is bracketed: the first before it, the second after it and before its results are believed.
  void check_unchanged() const;
  void check_nothing_lost() const;

  uint64_t copied_bytes() const { return copied_bytes_; }  // of memory, for tensors that were copied

  // What the tensors were made from, files with the times at which they had been modified.
  const TensorTable& table() const { return table_; }

  bool has(const std::string& name) const { return tensors_.contains(name); }
  // Throws Error("INVALID_CHECKPOINT") where the tensor is missing or of another shape.
  Matrix<const BFloat16> matrix(const std::string& name, int64_t rows, int64_t cols) const;
  std::span<const BFloat16> vector(const std::string& name, int64_t length) const;
  // All of it, once loaded.
  std::span<const BFloat16> elements(const std::string& name) const;

 private:
  struct Tensor {
    std::vector<int64_t> shape;
    StoredType type;
    uint64_t elements;
    const std::byte* data;
  };
  BFloat16* add_memory(uint64_t elements);
  const Tensor& find(const std::string& name) const;
  const BFloat16* find(const std::string& name, const std::vector<int64_t>& shape) const;

  TensorTable table_;
  std::vector<MappedFile> files_;
  std::vector<HostMemory> copies_;
  uint64_t copied_bytes_ = 0;
  std::unordered_map<std::string, Tensor> tensors_;
};

}  // namespace lockstep
