// The keys and values of one layer's sequences.
//
// Position p is in place p mod `capacity` of its slot: a sliding window is a ring. Keys lie in blocks of LANES positions, channel by channel, so that a score is a lane
// and nothing is summed across lanes; values lie position by position, so that a sum over positions is a lane per channel.
#pragma once

#include <algorithm>
#include <vector>

#include "matrix.h"
#include "memory.h"
#include "simd.h"

namespace codenas {

inline void convert(float x, float* to) { *to = x; }
inline void convert(float x, half* to) { *to = float_to_half(x); }

template <class T>
class KvCache {
 public:
  // `most` positions of a sequence are kept, `width` channels of `heads` heads.
  KvCache(int slots, int heads, int width, int most)
      : heads_(heads), width_(width), padded_(round_up(width, LANES)), capacity_(round_up(most, LANES)), oldest_(size_t(slots), 0) {
    for (int slot = 0; slot < slots; slot++) {
      keys_.emplace_back(size_t(heads) * head_keys());
      values_.emplace_back(size_t(heads) * head_values());
    }
  }

  int capacity() const { return capacity_; }
  int padded_width() const { return padded_; }
  int oldest(int slot) const { return oldest_[size_t(slot)]; }  // position that is still kept

  // The keys [width, LANES] of the block of positions with `position`, and the values [padded width] of one position.
  const T* key_block(int slot, int head, int position) const {
    return head_keys(slot, head) + size_t(position % capacity_ / LANES) * size_t(width_) * LANES;
  }
  const T* value(int slot, int head, int position) const { return head_values(slot, head) + size_t(position % capacity_) * size_t(padded_); }

  void write(int slot, int head, int position, const float* key, const float* value) {
    T* to = key_at(slot, head, position);
    for (int i = 0; i < width_; i++) convert(key[i], to + size_t(i) * LANES);
    T* values = value_at(slot, head, position);
    for (int i = 0; i < width_; i++) convert(value[i], values + i);
  }

  // Positions up to `end` will be written.
  void grow(int slot, int end) { oldest_[size_t(slot)] = std::max(oldest_[size_t(slot)], end - capacity_); }
  void reset(int slot) { oldest_[size_t(slot)] = 0; }

  void copy(int source, int target, int length) {
    oldest_[size_t(target)] = oldest(source);
    const size_t places = size_t(std::min(round_up(length, LANES), capacity_));
    for (int head = 0; head < heads_; head++) {
      std::memcpy(head_keys(target, head), head_keys(source, head), places * size_t(width_) * sizeof(T));
      std::memcpy(head_values(target, head), head_values(source, head), places * size_t(padded_) * sizeof(T));
    }
  }

  size_t position_bytes() const { return 2 * size_t(heads_) * size_t(width_) * sizeof(T); }

  // Keys and values of one position, [2, heads, width].
  void save(int slot, int position, T* to) const {
    for (int head = 0; head < heads_; head++, to += width_) {
      const T* key = const_cast<KvCache*>(this)->key_at(slot, head, position);
      for (int i = 0; i < width_; i++) to[i] = key[size_t(i) * LANES];
      std::memcpy(to + size_t(heads_) * size_t(width_), value(slot, head, position), size_t(width_) * sizeof(T));
    }
  }

  void restore(int slot, int position, const T* from) {
    for (int head = 0; head < heads_; head++, from += width_) {
      T* key = key_at(slot, head, position);
      for (int i = 0; i < width_; i++) key[size_t(i) * LANES] = from[i];
      std::memcpy(value_at(slot, head, position), from + size_t(heads_) * size_t(width_), size_t(width_) * sizeof(T));
    }
  }

  void set_oldest(int slot, int position) { oldest_[size_t(slot)] = position; }

 private:
  size_t head_keys() const { return size_t(capacity_) * size_t(width_); }
  size_t head_values() const { return size_t(capacity_) * size_t(padded_); }
  T* head_keys(int slot, int head) const { return keys_[size_t(slot)].data() + size_t(head) * head_keys(); }
  T* head_values(int slot, int head) const { return values_[size_t(slot)].data() + size_t(head) * head_values(); }
  T* key_at(int slot, int head, int position) {
    const int place = position % capacity_;
    return head_keys(slot, head) + size_t(place / LANES) * size_t(width_) * LANES + place % LANES;
  }
  T* value_at(int slot, int head, int position) { return head_values(slot, head) + size_t(position % capacity_) * size_t(padded_); }

  int heads_, width_, padded_, capacity_;
  std::vector<Buffer<T>> keys_, values_;  // per slot
  std::vector<int> oldest_;
};

}  // namespace codenas
