// The generalised delta rule (Peng et al. 2025): H_t = (diag(w_t) - b_t a_t') H_(t-1) + k_t v_t', o_t = H_t' q_t, with a the key whose
// value is removed, and b the direction in which that happens.
#pragma once

#include <cstddef>

namespace codenas {

// Some tokens of one head: vectors of its width, those of consecutive tokens `stride` apart.
struct DeltaTokens {
  const float *query, *decay, *removal, *replacement, *key, *value;
  ptrdiff_t stride;
  float* output;
  ptrdiff_t output_stride;
  int tokens;
};

int delta_state_columns(int width);  // of the state [width, columns]: whole registers

// Outputs of all tokens; the state becomes the one after them.
void delta_rule(const DeltaTokens& tokens, int width, float* state);

}  // namespace codenas
