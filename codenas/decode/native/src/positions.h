// Rotary angles and ALiBi slopes.
#pragma once

#include <cmath>
#include <vector>

namespace codenas {

// Cosines and sines of the angles by which the channel pairs (i, i + width / 2) are rotated, each [context_len, width / 2].
struct RotaryTable {
  RotaryTable(int context_len, int head_width) : half_width(head_width / 2) {
    for (int position = 0; position < context_len; position++)
      for (int i = 0; i < half_width; i++) {
        const double angle = position * std::pow(10000.0, -2.0 * i / head_width);
        cos.push_back(float(std::cos(angle)));
        sin.push_back(float(std::sin(angle)));
      }
  }

  void rotate(float* x, int position) const {
    const float *c = cos.data() + size_t(position) * size_t(half_width), *s = sin.data() + size_t(position) * size_t(half_width);
    for (int i = 0; i < half_width; i++) {
      const float first = x[i], second = x[i + half_width];
      x[i] = first * c[i] - second * s[i];
      x[i + half_width] = second * c[i] + first * s[i];
    }
  }

  int half_width;
  std::vector<float> cos, sin;
};

// Per head (Press et al. 2022); head counts that are no power of two interleave the next one's.
inline std::vector<float> alibi_slopes(int n_heads) {
  int power = 1;
  while (2 * power <= n_heads) power *= 2;
  std::vector<float> slopes;
  for (int i = 0; i < power; i++) slopes.push_back(float(std::pow(2.0, -8.0 * (i + 1) / power)));
  for (int i = 0; i < n_heads - power; i++) slopes.push_back(float(std::pow(2.0, -8.0 * (2 * i + 1) / (2 * power))));
  return slopes;
}

}  // namespace codenas
