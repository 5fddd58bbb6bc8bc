// A file mapped read-only, for weights used in place. Any thread; the mapping lives as long as the object.
//
// Whoever writes to the file changes what is mapped. A change is noticed, not prevented: unchanged() compares
// size and time stamp, lost() tells of reads that found nothing (base/bus_guard.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bus_guard.h"

namespace lockstep {

class MappedFile {
 public:
  // Throws Error("INVALID_CHECKPOINT") where the file cannot be mapped, is not `expected_bytes` long, or was
  // modified at another time than expected (0: any time will do); Error("OUT_OF_MEMORY") for want of addresses.
  MappedFile(const std::string& path, uint64_t expected_bytes, int64_t expected_modified_ns = 0);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::byte* data() const noexcept { return data_; }
  uint64_t size_bytes() const noexcept { return size_bytes_; }
  const std::string& path() const noexcept { return path_; }
  int64_t modified_ns() const noexcept { return modified_ns_; }

  // Whether the path still has the size and the time of modification that were mapped. A file that has been
  // removed counts as unchanged: the mapping keeps it alive as it was.
  bool unchanged() const noexcept;
  // Whether a read has found a part of the file gone, and got zeros.
  bool lost() const noexcept { return guard_->lost(); }

 private:
  std::string path_;
  std::byte* data_ = nullptr;
  uint64_t size_bytes_ = 0;
  int64_t modified_ns_ = 0;
  std::unique_ptr<BusGuard> guard_;  // null once moved from
};

}  // namespace lockstep
