// Loops over the channels of a token, register by register.
#pragma once

#include <type_traits>

#include "activations.h"

namespace codenas {

using AllLanes = std::integral_constant<int, LANES>;

// body(k, lanes) for channels k to k + lanes: of whole registers with a constant, for which `load_first` is `load`.
template <class Body>
inline void each_register(int n, const Body& body) {
  int k = 0;
  for (; k + LANES <= n; k += LANES) body(k, AllLanes());
  if (k < n) body(k, n - k);
}

inline vec load_first(const float* from, AllLanes) { return load(from); }
inline void store_first(float* to, vec v, AllLanes) { store(to, v); }

inline float dot(const float* a, const float* b, int n) {
  vec total{};
  each_register(n, [&](int k, auto lanes) { total += load_first(a + k, lanes) * load_first(b + k, lanes); });
  return sum(total);
}

// x * silu(gate), in place.
inline void multiply_by_silu(float* x, const float* gate, int n) {
  each_register(n, [&](int k, auto lanes) { store_first(x + k, load_first(x + k, lanes) * silu(load_first(gate + k, lanes)), lanes); });
}

}  // namespace codenas
