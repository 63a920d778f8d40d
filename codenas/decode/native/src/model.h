// The whole model: embedding, layers, head, and the lengths of the sequences in its slots.
#pragma once

#include <memory>
#include <vector>

#include "codenas_native.h"
#include "layer.h"
#include "multiply.h"

namespace codenas {

class Model {
 public:
  Model(const cn_arch& arch, const Tensors& tensors, const cn_options& options);

  void forward(size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions, size_t m, const int32_t* wanted, float* logits);

  int length(int slot) const { return has(slot) ? lengths_[size_t(slot)] : -1; }
  void reset(int slot);
  void copy(int source, int target);
  bool truncatable() const;
  void truncate(int slot, int length);
  void mark(int slot);
  void rewind(int slot);
  size_t saved_bytes(int slot, int start, int stop) const;
  void save(int slot, int start, int stop, uint8_t* block) const;
  void restore(int slot, int start, int stop, const uint8_t* block, size_t bytes);
  size_t state_bytes(int length) const;
  size_t weight_bytes() const { return arena_.used(); }

 private:
  struct Layer {
    std::vector<float> mixer_gain, feedforward_gain;
    std::unique_ptr<Mixer> mixer;
    std::unique_ptr<Matrix> up, down;
  };

  bool has(int slot) const { return slot >= 0 && slot < options_.slots; }
  void check_slot(int slot) const;
  Batch checked_batch(size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions) const;
  void check_wanted(size_t n, size_t m, const int32_t* wanted) const;
  void add_layer(const Tensors& tensors, int number);
  void embed(int n, const int32_t* tokens, const int32_t* positions, float* x);
  void feed_forward(const Layer& layer, int n, float* x);
  float* normalise_all(const float* x, const std::vector<float>& gain, int n);
  void project_out(const float* x, int m, const int32_t* wanted, float* logits);

  cn_arch arch_;
  const cn_options options_;
  const int embedding_width_;
  Arena arena_;
  Workspace work_;
  std::vector<std::shared_ptr<const RotaryTable>> rotary_;
  std::vector<Layer> layers_;
  std::vector<float> gain_;
  std::unique_ptr<Matrix> embedding_, widen_, positions_, narrow_, own_head_;
  std::vector<int> lengths_, marks_;  // of the sequences in the slots, now and at their marks; a mark of -1 is none
};

}  // namespace codenas
