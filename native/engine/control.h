// What is asked of an engine as a whole. Carried out between two steps, one after the other in the order asked;
// each is answered by one kDone event. Engine thread only, once posted.
#pragma once
#include <cstdint>
#include <string>

#include "checkpoint/tensor_store.h"

namespace lockstep {

// What becomes of the requests that have begun (been admitted, preempted since or not) when the engine pauses,
// changes its weights or sleeps. Those that have not begun wait in any case.
enum class Running : uint8_t {
  kWait,      // they finish first
  kAbort,     // they end, with what they have
  kContinue,  // they stay and go on afterwards
};

struct Control {
  enum class Kind : uint8_t { kPause, kContinue, kFlush, kUpdate, kRead, kSleep, kWake };
  uint64_t id = 0;
  Kind kind = Kind::kPause;
  Running running = Running::kWait;  // of kPause, kUpdate and kSleep
  TensorStore weights = {};          // of kUpdate: loaded, and its values checked
  uint64_t version = 0;              // of kUpdate: what the new weights are called
  std::string tensor = {};           // of kRead: its name
  bool keep_weights = false;         // of kSleep
};

}  // namespace lockstep
