// Products of a matrix with the inputs of many tokens, shared by the threads.
#pragma once

#include "workspace.h"

namespace codenas {

// What becomes of the products. The gated ones are of matrices that `interleave` made: activation(first) * second.
enum class Finish { STORE, ADD, GELU, SILU, RELU2, GEGLU, SWIGLU };

struct Output {
  float* values;  // [tokens, stride]
  ptrdiff_t stride;
  int width;      // values of a token: the rows of the matrix, or half of them where they are gated
  Finish finish = Finish::STORE;
};

void multiply(Workspace& work, const Matrix& matrix, const float* x, ptrdiff_t stride, int tokens, const Output& output);

}  // namespace codenas
