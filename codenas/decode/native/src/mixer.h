// The interface of a mixer: the part of a layer in which the tokens of a sequence interact, with its state in slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace codenas {

// Consecutive tokens of one sequence in a batch.
struct Run {
  int slot;
  int position;  // of the first one
  int first;     // its index in the batch
  int count;
};

struct Batch {
  int tokens = 0;
  std::vector<Run> runs;
};

class Mixer {
 public:
  virtual ~Mixer() = default;

  // Add the layer's output for the normalised inputs `x` to `residual`, both [tokens, stride of the model], and advance the states.
  virtual void forward(const Batch& batch, const float* x, float* residual) = 0;

  virtual void reset(int slot) = 0;
  virtual void copy(int source, int target, int length) = 0;                       // a sequence of `length` tokens

  // Whether all positions are kept: a shorter sequence needs nothing else. Other mixers go back to the state that was marked last.
  virtual bool truncatable() const = 0;
  virtual void mark(int slot) = 0;
  virtual void rewind(int slot) = 0;

  // A part of a state as bytes: of the positions from `start` to `stop`; a recurrent state belongs to the end alone.
  // `restore` appends it to a sequence of `start` tokens, reads no further than `end`, and returns the first byte behind its part.
  virtual size_t saved_bytes(int slot, int start, int stop) const = 0;
  virtual void save(int slot, int start, int stop, uint8_t* to) const = 0;
  virtual const uint8_t* restore(int slot, int start, int stop, const uint8_t* from, const uint8_t* end) = 0;
  virtual size_t state_bytes(int length) const = 0;
};

}  // namespace codenas
