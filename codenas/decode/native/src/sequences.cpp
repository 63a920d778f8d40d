// What a model does with the sequences in its slots beside computing, and what it checks before it computes.
#include <algorithm>

#include "errors.h"
#include "model.h"

namespace codenas {

void Model::check_slot(int slot) const {
  require(has(slot), "slot " + std::to_string(slot) + " is none of the " + std::to_string(options_.slots) + " slots");
}

Batch Model::checked_batch(size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions) const {
  require(n >= 1 && n <= size_t(options_.max_tokens),
          std::to_string(n) + " tokens are not between 1 and the " + std::to_string(options_.max_tokens) + " of a forward pass");
  require(tokens && slots && positions, "an array is missing");
  Batch batch;
  batch.tokens = int(n);
  std::vector<char> present(size_t(options_.slots), 0);
  for (int i = 0; i < int(n); i++) {
    require(tokens[i] >= 0 && tokens[i] < arch_.vocab_size,
            "token " + std::to_string(tokens[i]) + " is not in the vocabulary of " + std::to_string(arch_.vocab_size));
    check_slot(slots[i]);
    if (i > 0 && slots[i] == slots[i - 1]) {
      batch.runs.back().count++;
    } else {
      require(!present[size_t(slots[i])], "the tokens of slot " + std::to_string(slots[i]) + " are not neighbours");
      present[size_t(slots[i])] = 1;
      batch.runs.push_back({slots[i], lengths_[size_t(slots[i])], i, 1});
    }
    const Run& run = batch.runs.back();
    require(positions[i] == run.position + run.count - 1, "position " + std::to_string(positions[i]) + " does not follow the " +
                                                              std::to_string(run.position + run.count - 1) + " tokens of its slot");
    require(positions[i] < arch_.context_len, "position " + std::to_string(positions[i]) + " is outside the context of " +
                                                  std::to_string(arch_.context_len));
  }
  return batch;
}

void Model::check_wanted(size_t n, size_t m, const int32_t* wanted) const {
  require(m <= n && (m == 0 || wanted), "more logits are wanted than there are tokens");
  for (size_t i = 0; i < m; i++)
    require(wanted[i] >= 0 && size_t(wanted[i]) < n && (i == 0 || wanted[i] > wanted[i - 1]), "wanted tokens are not ascending indices");
}

void Model::reset(int slot) {
  check_slot(slot);
  for (Layer& layer : layers_) layer.mixer->reset(slot);
  lengths_[size_t(slot)] = 0;
  marks_[size_t(slot)] = -1;
}

void Model::copy(int source, int target) {
  check_slot(source);
  check_slot(target);
  if (source == target) return;
  for (Layer& layer : layers_) layer.mixer->copy(source, target, length(source));
  lengths_[size_t(target)] = length(source);
  marks_[size_t(target)] = -1;
}

bool Model::truncatable() const {
  return std::all_of(layers_.begin(), layers_.end(), [](const Layer& layer) { return layer.mixer->truncatable(); });
}

void Model::truncate(int slot, int new_length) {
  check_slot(slot);
  require(truncatable(), "a model with a window or a recurrent layer cannot be truncated: rewind or restore it");
  require(new_length >= 0 && new_length <= length(slot),
          "a sequence of " + std::to_string(length(slot)) + " tokens cannot be truncated to " + std::to_string(new_length));
  lengths_[size_t(slot)] = new_length;
}

void Model::mark(int slot) {
  check_slot(slot);
  for (Layer& layer : layers_) layer.mixer->mark(slot);
  marks_[size_t(slot)] = length(slot);
}

void Model::rewind(int slot) {
  check_slot(slot);
  const int marked = marks_[size_t(slot)];
  require(marked >= 0 && marked <= length(slot), "slot " + std::to_string(slot) + " has no mark");
  require(length(slot) - marked <= options_.max_tokens, "the mark is " + std::to_string(length(slot) - marked) + " tokens back, more than the " +
                                                            std::to_string(options_.max_tokens) + " of a forward pass");
  for (Layer& layer : layers_) layer.mixer->rewind(slot);
  lengths_[size_t(slot)] = marked;
}

size_t Model::saved_bytes(int slot, int start, int stop) const {
  check_slot(slot);
  require(start >= 0 && start <= stop && stop <= length(slot), "positions " + std::to_string(start) + " to " + std::to_string(stop) +
                                                                   " are not in the sequence of " + std::to_string(length(slot)) + " tokens");
  require(stop == length(slot) || truncatable(), "a model with a window or a recurrent layer is saved at the end of its sequence only");
  size_t total = 0;
  for (const Layer& layer : layers_) total += layer.mixer->saved_bytes(slot, start, stop);
  return total;
}

void Model::save(int slot, int start, int stop, uint8_t* block) const {
  saved_bytes(slot, start, stop);  // checks them
  require(block != nullptr, "a block needs memory");
  for (const Layer& layer : layers_) {
    layer.mixer->save(slot, start, stop, block);
    block += layer.mixer->saved_bytes(slot, start, stop);
  }
}

void Model::restore(int slot, int start, int stop, const uint8_t* block, size_t bytes) {
  check_slot(slot);
  require(start == length(slot), "a block from position " + std::to_string(start) + " does not follow " + std::to_string(length(slot)) + " tokens");
  require(block && stop >= start && stop <= arch_.context_len, "the block does not fit the context");
  const uint8_t* end = block + bytes;
  try {
    for (Layer& layer : layers_) block = layer.mixer->restore(slot, start, stop, block, end);
    require(block == end, "the block is not one that this model saved");
  } catch (...) {
    reset(slot);  // some layers may have taken their parts
    throw;
  }
  lengths_[size_t(slot)] = stop;
  marks_[size_t(slot)] = -1;
}

size_t Model::state_bytes(int length) const {
  size_t total = 0;
  for (const Layer& layer : layers_) total += layer.mixer->state_bytes(length < 0 ? 0 : length);
  return total;
}

}  // namespace codenas
