// Linear recurrences with one decay per head and token: S_t = decay_t S_(t-1) + strength_t k_t v_t', o_t = q_t S_t + skip v_t.
#pragma once

#include <cstddef>

namespace codenas {

// Some tokens of one head.
struct ScanTokens {
  const float *query, *key;  // [tokens, key_stride]
  ptrdiff_t key_stride;
  const float* value;        // [tokens, value_stride]
  ptrdiff_t value_stride;
  const float *log_decay, *strength;  // [tokens]
  float skip;
  float* output;             // [tokens, output_stride]
  ptrdiff_t output_stride;
  int tokens;
};

int scan_state_columns(int value_width);  // of the state [key_width, columns]: whole registers

// Outputs of all tokens; the state becomes the one after them.
void scan(const ScanTokens& tokens, int key_width, int value_width, float* state);

}  // namespace codenas
