#include "checkpoint/tensor_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace lockstep {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& reason) {
  throw Error("INVALID_CHECKPOINT", what + ": " + reason);
}

[[noreturn]] void fail_changed(const MappedFile& file) {
  throw Error("ENGINE_FAILED", file.path() +
                                   " changed while it was in use: load the checkpoint anew, or with weights: "
                                   "\"copy\" where its files are written in place");
}

// Converted between two looks at `cancel`: about a millisecond's work.
constexpr uint64_t kPieceElements = 1 << 20;

uint64_t size_of(StoredType type) { return type == StoredType::kF32 ? 4 : 2; }

// To nearest, ties to even; NaN stays NaN.
BFloat16 round_to_bf16(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// The float32 bits of an F16 value; every F16 value has one.
uint32_t widen_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return sign | 0x7f800000u | fraction << 13;
  if (exponent != 0) return sign | (exponent + 112) << 23 | fraction << 13;
  const float value = static_cast<float>(fraction) * 0x1p-24f;  // subnormal: exact
  uint32_t magnitude;
  std::memcpy(&magnitude, &value, sizeof magnitude);
  return sign | magnitude;
}

void convert(BFloat16* to, const std::byte* from, StoredType type, uint64_t elements) {
  if (type == StoredType::kBF16) {
    std::memcpy(to, from, elements * sizeof(BFloat16));
    return;
  }
  for (uint64_t i = 0; i < elements; ++i) {
    uint32_t bits = 0;
    if (type == StoredType::kF32) {
      std::memcpy(&bits, from + 4 * i, 4);
    } else {
      uint16_t half;
      std::memcpy(&half, from + 2 * i, 2);
      bits = widen_f16(half);
    }
    to[i] = round_to_bf16(bits);
  }
}

// The tensor's first byte, after checking that all of it lies in its file.
const std::byte* locate(const TensorEntry& entry, const std::vector<MappedFile>& files, uint64_t elements) {
  if (entry.file < 0 || static_cast<size_t>(entry.file) >= files.size()) fail(entry.name, "no such file");
  const MappedFile& file = files[entry.file];
  const uint64_t size = file.size_bytes(), bytes_each = size_of(entry.type);
  if (elements > size / bytes_each || entry.offset_bytes > size - elements * bytes_each)
    fail(entry.name, "the tensor lies beyond the end of " + file.path());
  return file.data() + entry.offset_bytes;
}

template <class Body>
void for_each_piece(uint64_t elements, const std::atomic<bool>& cancel, Body body) {
  for (uint64_t begin = 0; begin < elements; begin += kPieceElements) {
    if (cancel.load(std::memory_order_relaxed))
      throw Error("ENGINE_CLOSED", "the engine was closed while it was loading");
    body(begin, std::min(kPieceElements, elements - begin));
  }
}

// `first`: what stands at `data` is this element of the tensor. BF16, at any address.
void check_finite_piece(const std::string& name, const std::byte* data, uint64_t first, uint64_t count) {
  const auto bits = [data](uint64_t i) {
    uint16_t value;
    std::memcpy(&value, data + i * sizeof value, sizeof value);
    return value;
  };
  const auto not_finite = [](uint16_t value) { return (value & 0x7f80u) == 0x7f80u; };
  uint16_t any = 0;
  for (uint64_t i = 0; i < count; ++i) any |= static_cast<uint16_t>(not_finite(bits(i)));
  if (any == 0) return;
  uint64_t i = 0;
  while (!not_finite(bits(i))) ++i;
  fail(name, std::string("element ") + std::to_string(first + i) + " is " +
                 ((bits(i) & 0x7fu) != 0 ? "NaN" : "infinite") + ", as BF16");
}

uint64_t count_elements(const TensorEntry& entry) {
  uint64_t elements = 1;
  for (const int64_t size : entry.shape)
    if (size < 0 || __builtin_mul_overflow(elements, static_cast<uint64_t>(size), &elements))
      fail(entry.name, "the tensor's shape is not possible");
  return elements;
}

}  // namespace

TensorStore::TensorStore(TensorTable table) : table_(std::move(table)) {
  for (CheckpointFile& file : table_.files) {
    files_.emplace_back(file.path, file.size_bytes, file.modified_ns);
    file.modified_ns = files_.back().modified_ns();
  }
  for (const TensorEntry& entry : table_.tensors) {
    const uint64_t elements = count_elements(entry);
    Tensor tensor{entry.shape, entry.type, elements, nullptr};
    if (table_.files.empty()) {
      tensor.type = StoredType::kBF16;
      tensor.data = reinterpret_cast<const std::byte*>(add_memory(elements));
    } else {
      tensor.data = locate(entry, files_, elements);
    }
    tensors_.insert_or_assign(entry.name, std::move(tensor));
  }
}

BFloat16* TensorStore::add_memory(uint64_t elements) {
  if (elements > SIZE_MAX / sizeof(BFloat16)) throw Error("OUT_OF_MEMORY", "A tensor is too large");
  copies_.emplace_back(elements * sizeof(BFloat16), false);
  copied_bytes_ += elements * sizeof(BFloat16);
  return reinterpret_cast<BFloat16*>(copies_.back().data());
}

void TensorStore::load(bool copy, const std::atomic<bool>& cancel) {
  if (files_.empty()) return;
  std::vector<Tensor*> wanted;
  for (auto& [name, tensor] : tensors_)
    if (copy || tensor.type != StoredType::kBF16) wanted.push_back(&tensor);
  std::ranges::sort(wanted, {}, &Tensor::data);  // files are read from front to back
  for (Tensor* const tensor : wanted) {
    BFloat16* const to = add_memory(tensor->elements);
    for_each_piece(tensor->elements, cancel, [&](uint64_t begin, uint64_t count) {
      convert(to + begin, tensor->data + begin * size_of(tensor->type), tensor->type, count);
    });
    tensor->data = reinterpret_cast<const std::byte*>(to);
    tensor->type = StoredType::kBF16;
  }
  check_loaded();
  if (copy) files_.clear();
}

void TensorStore::write(const std::string& name, uint64_t first, StoredType type,
                        std::span<const std::byte> bytes) {
  const Tensor& tensor = find(name);
  const uint64_t count = bytes.size() / size_of(type);
  if (!files_.empty() || first > tensor.elements || count > tensor.elements - first)
    fail(name, "expected elements of a tensor in memory");
  BFloat16* const to = const_cast<BFloat16*>(reinterpret_cast<const BFloat16*>(tensor.data)) + first;
  convert(to, bytes.data(), type, count);
  check_finite_piece(name, reinterpret_cast<const std::byte*>(to), first, count);
}

void TensorStore::check_finite(const std::atomic<bool>& cancel) const {
  for (const TensorEntry& entry : table_.tensors) {
    const Tensor& tensor = find(entry.name);
    for_each_piece(tensor.elements, cancel, [&](uint64_t begin, uint64_t count) {
      check_finite_piece(entry.name, tensor.data + begin * sizeof(BFloat16), begin, count);
    });
  }
  check_loaded();
}

void TensorStore::check_loaded() const {
  for (const MappedFile& file : files_)
    if (file.lost() || !file.unchanged()) fail(file.path(), "the file changed while it was being loaded");
}

void TensorStore::release() {
  check_loaded();
  tensors_.clear();
  copies_.clear();
  copied_bytes_ = 0;
  files_.clear();
}

void TensorStore::check_unchanged() const {
  for (const MappedFile& file : files_)
    if (!file.unchanged()) fail_changed(file);
}

void TensorStore::check_nothing_lost() const {
  for (const MappedFile& file : files_)
    if (file.lost()) fail_changed(file);
}

Matrix<const BFloat16> TensorStore::matrix(const std::string& name, int64_t rows, int64_t cols) const {
  return {find(name, {rows, cols}), rows, cols};
}

std::span<const BFloat16> TensorStore::vector(const std::string& name, int64_t length) const {
  return {find(name, {length}), static_cast<size_t>(length)};
}

std::span<const BFloat16> TensorStore::elements(const std::string& name) const {
  const Tensor& tensor = find(name);
  return {reinterpret_cast<const BFloat16*>(tensor.data), tensor.elements};
}

const TensorStore::Tensor& TensorStore::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(name, "the tensor is missing");
  return found->second;
}

const BFloat16* TensorStore::find(const std::string& name, const std::vector<int64_t>& shape) const {
  const Tensor& tensor = find(name);
  if (tensor.shape != shape) fail(name, "the tensor's shape does not fit config.json");
  return reinterpret_cast<const BFloat16*>(tensor.data);
}

}  // namespace lockstep
