// The one exception type that crosses native layers. `code` is one of src/errors.ts's ErrorCode strings.
#pragma once
#include <stdexcept>
#include <string>

namespace lockstep {

class Error : public std::runtime_error {
 public:
  Error(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const noexcept { return code_; }

 private:
  const char* code_;  // a string literal
};

}  // namespace lockstep
