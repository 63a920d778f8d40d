// What callers can correct; the C interface makes an error code and a line of it.
#pragma once

#include <stdexcept>
#include <string>

namespace codenas {

struct Invalid : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

inline void require(bool holds, const std::string& otherwise) {
  if (!holds) throw Invalid(otherwise);
}

}  // namespace codenas
