// Normalisations of one token's channels.
#pragma once

#include <cmath>

#include "codenas_native.h"
#include "elementwise.h"

namespace codenas {

constexpr float EPSILON = 1e-6f;
constexpr int NORM_GROUPS = 4;

inline float sum_of_squares(const float* x, int n) { return dot(x, x, n); }

// x / rms(x) * gain; `to` may be `x`.
inline void rms_norm(const float* x, const float* gain, int n, float* to) {
  const float factor = 1 / std::sqrt(sum_of_squares(x, n) / float(n) + EPSILON);
  for (int k = 0; k < n; k++) to[k] = x[k] * factor * gain[k];
}

// (x - mean) / std * gain; `to` may be `x`.
inline void layer_norm(const float* x, const float* gain, int n, float* to, float epsilon = EPSILON) {
  vec total{};
  each_register(n, [&](int k, auto lanes) { total += load_first(x + k, lanes); });
  const float mean = sum(total) / float(n);
  for (int k = 0; k < n; k++) to[k] = x[k] - mean;
  const float factor = 1 / std::sqrt(sum_of_squares(to, n) / float(n) + epsilon);
  for (int k = 0; k < n; k++) to[k] *= factor * gain[k];
}

inline void normalise(int kind, const float* x, const float* gain, int n, float* to) {
  if (kind == CN_RMSNORM) return rms_norm(x, gain, n, to);
  const int groups = kind == CN_GROUPNORM ? NORM_GROUPS : 1, width = n / groups;
  for (int group = 0; group < groups; group++) layer_norm(x + group * width, gain + group * width, width, to + group * width);
}

}  // namespace codenas
