#include "base/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace lockstep {
namespace {

constexpr uintptr_t kClaimed = UINTPTR_MAX;  // no address lies at or above it

// Static, and without destructors: threads and the handler may touch them while the process exits.
constinit std::array<BusGuard::Range, 4096> ranges;
constinit struct sigaction previous {};
constinit uintptr_t page_bytes = 0;
constinit std::once_flag installed;
static_assert(std::is_trivially_destructible_v<BusGuard::Range> &&
              std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

// Puts zeros in the place of the file from the page of `address` to the end of its range: what lies behind
// the first missing page of a file that was cut short is missing, too. False where the address is in no
// range.
bool survive(uintptr_t address) noexcept {
  for (BusGuard::Range& range : ranges) {
    const uintptr_t begin = range.begin.load(std::memory_order_acquire);
    const uintptr_t end = range.end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    range.lost.store(true, std::memory_order_release);
    const uintptr_t page = address / page_bytes * page_bytes;
    return mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
  }
  return false;
}

// What would have happened without this handler.
void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
  const bool sent = info->si_code <= 0;  // by kill() and the like, not by a fault
  if (previous.sa_handler == SIG_IGN && sent) return;
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
  // The default action, when the faulting instruction is tried again or the signal is unblocked.
  struct sigaction restored {};
  restored.sa_handler = SIG_DFL;
  sigaction(signal, &restored, nullptr);
  if (sent) raise(signal);
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool fault = info->si_code > 0;
  if (!fault || !survive(reinterpret_cast<uintptr_t>(info->si_addr))) pass_on(signal, info, context);
  errno = error;
}

void install() {
  page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  // Read first: the handler may run as soon as it is in place.
  sigaction(SIGBUS, nullptr, &previous);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

BusGuard::BusGuard(const void* data, size_t size_bytes) {
  std::call_once(installed, install);
  for (Range& range : ranges) {
    uintptr_t free = 0;
    if (!range.begin.compare_exchange_strong(free, kClaimed, std::memory_order_acq_rel)) continue;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
    range.lost.store(false, std::memory_order_relaxed);
    range.end.store(begin + size_bytes, std::memory_order_relaxed);
    range.begin.store(begin, std::memory_order_release);
    range_ = &range;
    return;
  }
  throw Error("OUT_OF_MEMORY",
              "Too many checkpoint files are mapped at once: " + std::to_string(ranges.size()));
}

BusGuard::~BusGuard() {
  range_->end.store(0, std::memory_order_release);
  range_->begin.store(0, std::memory_order_release);
}

}  // namespace lockstep
