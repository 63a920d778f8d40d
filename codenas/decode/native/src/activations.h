// Functions of a register's lanes.
#pragma once

#include "simd.h"

namespace codenas {

// e^x to 2 ulp; below -87 it is nearly zero, above 88 as large as a float can be.
inline vec exp(vec x) {
  x = min(max(x, broadcast(-87.0f)), broadcast(88.0f));
  const ivec n = round_to_int(x * 1.44269504f);
  const vec whole = __builtin_convertvector(n, vec);
  const vec r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;  // the rest, by a logarithm of two in two parts
  vec p = broadcast(1 / 5040.0f);
  for (const float c : {1 / 720.0f, 1 / 120.0f, 1 / 24.0f, 1 / 6.0f, 0.5f, 1.0f, 1.0f}) p = p * r + c;
  return (vec)((ivec)p + (n << 23));
}

inline vec sigmoid(vec x) { return 1 / (1 + exp(-x)); }
inline vec tanh(vec x) { return 1 - 2 / (1 + exp(2 * x)); }
inline vec silu(vec x) { return x / (1 + exp(-x)); }

inline vec relu2(vec x) {
  x = max(x, vec{});
  return x * x;
}

// The error function to 2e-7 (Abramowitz and Stegun 7.1.26).
inline vec erf(vec x) {
  const vec magnitude = abs(x), t = 1 / (1 + 0.3275911f * magnitude);
  vec p = broadcast(1.061405429f);
  for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = p * t + c;
  const vec y = 1 - p * t * exp(-magnitude * magnitude);
  return x < 0 ? -y : y;
}

inline vec gelu(vec x) { return 0.5f * x * (1 + erf(x * 0.707106781f)); }

}  // namespace codenas
