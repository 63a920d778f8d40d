// Normalisations of one token's channels.
#pragma once

#include <cmath>

#include "codenas_native.h"
#include "simd.h"

namespace codenas {

constexpr float EPSILON = 1e-6f;
constexpr int NORM_GROUPS = 4;

inline float sum_of_squares(const float* x, int n) {
  vec total{};
  int k = 0;
  for (; k + LANES <= n; k += LANES) {
    const vec v = load(x + k);
    total += v * v;
  }
  if (k < n) {
    const vec v = load_first(x + k, n - k);
    total += v * v;
  }
  return sum(total);
}

// x / rms(x) * gain; `to` may be `x`.
inline void rms_norm(const float* x, const float* gain, int n, float* to) {
  const float factor = 1 / std::sqrt(sum_of_squares(x, n) / float(n) + EPSILON);
  for (int k = 0; k < n; k++) to[k] = x[k] * factor * gain[k];
}

// (x - mean) / std * gain.
inline void layer_norm(const float* x, const float* gain, int n, float* to) {
  float mean = 0, variance = 0;
  for (int k = 0; k < n; k++) mean += x[k];
  mean /= float(n);
  for (int k = 0; k < n; k++) variance += (x[k] - mean) * (x[k] - mean);
  const float factor = 1 / std::sqrt(variance / float(n) + EPSILON);
  for (int k = 0; k < n; k++) to[k] = (x[k] - mean) * factor * gain[k];
}

inline void normalise(int kind, const float* x, const float* gain, int n, float* to) {
  if (kind == CN_RMSNORM) return rms_norm(x, gain, n, to);
  const int groups = kind == CN_GROUPNORM ? NORM_GROUPS : 1, width = n / groups;
  for (int group = 0; group < groups; group++) layer_norm(x + group * width, gain + group * width, width, to + group * width);
}

}  // namespace codenas
