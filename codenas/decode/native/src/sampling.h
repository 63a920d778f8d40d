// The choice of a token from the logits of one sequence.
#pragma once

#include <cstdint>

namespace codenas {

struct Sampling {
  double temperature;
  int top_k;  // 0: all
  double top_p;
  double min_p;
};

// The token at `drawn`, in [0, 1), of the distribution of `n` logits; -1 if they have no finite maximum.
int sample(const float* logits, int n, const Sampling& sampling, double drawn);

}  // namespace codenas
