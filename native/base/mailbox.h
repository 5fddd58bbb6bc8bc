// A queue from many threads to one: how JavaScript's thread talks to an engine thread. Closing it takes no
// memory, so that an engine can be stopped when there is none.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace lockstep {

template <class T>
class Mailbox {
 public:
  // False, and the message is not taken, once closed.
  bool post(T message) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      messages_.push_back(std::move(message));
    }
    arrived_.notify_one();
    return true;
  }

  void close() noexcept {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    arrived_.notify_one();
  }

  // What has arrived since the last call, in order, into the empty `messages`; with `wait`, blocks until
  // there is something or the mailbox is closed. False once closed: nothing more will come.
  bool take(std::deque<T>& messages, bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) arrived_.wait(lock, [this] { return !messages_.empty() || closed_; });
    messages.swap(messages_);
    return !closed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<T> messages_;  // guarded by mutex_
  bool closed_ = false;     // guarded by mutex_
};

}  // namespace lockstep
