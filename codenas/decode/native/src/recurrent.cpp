#include "recurrent.h"

#include <cstring>

#include "errors.h"

namespace codenas {

RecurrentMixer::RecurrentMixer(int slots, size_t state_size) : state_size_(state_size) {
  for (int slot = 0; slot < slots; slot++) {
    states_.emplace_back(state_size);
    marks_.emplace_back(state_size);  // not resident before the first mark
  }
}

void RecurrentMixer::reset(int slot) { std::memset(state(slot), 0, bytes()); }
void RecurrentMixer::copy(int source, int target, int) { std::memcpy(state(target), state(source), bytes()); }
void RecurrentMixer::mark(int slot) { std::memcpy(marks_[size_t(slot)].data(), state(slot), bytes()); }
void RecurrentMixer::rewind(int slot) { std::memcpy(state(slot), marks_[size_t(slot)].data(), bytes()); }

size_t RecurrentMixer::saved_bytes(int, int, int) const { return bytes(); }
void RecurrentMixer::save(int slot, int, int, uint8_t* to) const { std::memcpy(to, state(slot), bytes()); }

const uint8_t* RecurrentMixer::restore(int slot, int, int, const uint8_t* from, const uint8_t* end) {
  require(size_t(end - from) >= bytes(), "the block is not one that this model saved");
  std::memcpy(state(slot), from, bytes());
  return from + bytes();
}

size_t RecurrentMixer::state_bytes(int) const { return bytes(); }

}  // namespace codenas
