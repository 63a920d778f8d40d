// What recurrent mixers have in common: the state of a sequence is so many float32 values, whatever its length.
#pragma once

#include "layer.h"

namespace codenas {

class RecurrentMixer : public Mixer {
 public:
  RecurrentMixer(int slots, size_t state_size);

  void reset(int slot) override;
  void copy(int source, int target, int length) override;
  bool truncatable() const override { return false; }
  void mark(int slot) override;
  void rewind(int slot) override;

  size_t saved_bytes(int slot, int start, int stop) const override;
  void save(int slot, int start, int stop, uint8_t* to) const override;
  const uint8_t* restore(int slot, int start, int stop, const uint8_t* from, const uint8_t* end) override;
  size_t state_bytes(int length) const override;

 protected:
  float* state(int slot) const { return states_[size_t(slot)].data(); }

 private:
  size_t bytes() const { return state_size_ * sizeof(float); }

  const size_t state_size_;
  std::vector<Buffer<float>> states_, marks_;  // per slot
};

}  // namespace codenas
