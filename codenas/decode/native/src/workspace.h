// What all layers of a model share while they compute: threads, and room for intermediate results.
#pragma once

#include "matrix.h"
#include "memory.h"
#include "thread_pool.h"

namespace codenas {

// PROJECTED and MIXED belong to whatever part of a layer computes: a mixer's projections, then the hidden channels of the feed-forward.
// CONVOLVED, SHIFTED and RANKS are of recurrent mixers.
enum class Scratch { RESIDUAL, NORMALISED, PROJECTED, MIXED, CONVOLVED, SHIFTED, RANKS, COUNT };

class Workspace {
 public:
  explicit Workspace(int threads) : pool(threads) {}

  // Room for `count` floats, whose values are lost at the next call with the same `which`.
  float* floats(Scratch which, size_t count) { return grown(floats_[size_t(which)], count); }
  Inputs inputs(const float* values, ptrdiff_t stride, int width, int tokens);

  ThreadPool pool;

 private:
  template <class T>
  static T* grown(Buffer<T>& buffer, size_t count) {
    if (buffer.size() < count) buffer = Buffer<T>(count);
    return buffer.data();
  }

  Buffer<float> floats_[size_t(Scratch::COUNT)];
  Buffer<int8_t> codes_;
  Buffer<float> scales_;
  Buffer<int32_t> sums_;
};

}  // namespace codenas
