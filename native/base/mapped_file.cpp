#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace lockstep {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error("INVALID_CHECKPOINT", path + ": " + reason);
}

[[noreturn]] void fail_with_errno(const std::string& path, const char* what) {
  const int error = errno;
  fail(path, std::string(what) + ": " + std::strerror(error));
}

int64_t time_of(const struct stat& status) {
#ifdef __APPLE__
  const timespec& time = status.st_mtimespec;
#else
  const timespec& time = status.st_mtim;
#endif
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

struct Descriptor {
  const int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

}  // namespace

MappedFile::MappedFile(const std::string& path, uint64_t expected_bytes, int64_t expected_modified_ns)
    : path_(path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) fail_with_errno(path, "cannot be opened");
  struct stat status {};
  if (fstat(file.number, &status) != 0) fail_with_errno(path, "cannot be read");
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  if (size != expected_bytes)
    fail(path, "expected " + std::to_string(expected_bytes) + " bytes but found " + std::to_string(size) +
                   ": the file changed since its header was read");
  if (size == 0) fail(path, "the file is empty");
  if (expected_modified_ns != 0 && time_of(status) != expected_modified_ns)
    fail(path, "the file has been written to since it was loaded");
  void* const mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.number, 0);
  if (mapping == MAP_FAILED && errno == ENOMEM)
    throw Error("OUT_OF_MEMORY", path + ": cannot be mapped: " + std::strerror(ENOMEM));
  if (mapping == MAP_FAILED) fail_with_errno(path, "cannot be mapped");
  try {
    guard_ = std::make_unique<BusGuard>(mapping, size);
  } catch (...) {
    munmap(mapping, size);
    throw;
  }
  data_ = static_cast<std::byte*>(mapping);
  size_bytes_ = size;
  modified_ns_ = time_of(status);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      modified_ns_(other.modified_ns_),
      guard_(std::move(other.guard_)) {}

MappedFile::~MappedFile() {
  guard_.reset();
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

bool MappedFile::unchanged() const noexcept {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return true;
  return static_cast<uint64_t>(status.st_size) == size_bytes_ && time_of(status) == modified_ns_;
}

}  // namespace lockstep
