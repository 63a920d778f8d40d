#include "multiply.h"

#include <algorithm>

#include "activations.h"

namespace codenas {
namespace {

constexpr int FEW = 2;               // tokens: their inputs are quantised by the caller before the others would have begun
constexpr int QUANTISE_GRAIN = 4;    // tokens
constexpr int LEAST_WORK = 1 << 15;  // multiply-adds that are worth another thread's attention

bool gated(Finish finish) { return finish == Finish::GEGLU || finish == Finish::SWIGLU; }

template <class F>
void apply(float* x, int registers, const F& f) {
  for (int i = 0; i < registers; i++) store(x + i * LANES, f(load(x + i * LANES)));
}

// `products` [PANEL] of one token's panel to where the output wants them.
void finish(const Output& output, int panel, int token, float* products) {
  const int span = gated(output.finish) ? LANES : PANEL, begin = panel * span, count = std::min(span, output.width - begin);
  float* to = output.values + token * output.stride + begin;
  switch (output.finish) {
    case Finish::STORE: break;
    case Finish::ADD:
      for (int i = 0; i < count; i++) to[i] += products[i];
      return;
    case Finish::GELU: apply(products, 2, gelu); break;
    case Finish::SILU: apply(products, 2, silu); break;
    case Finish::RELU2: apply(products, 2, relu2); break;
    case Finish::GEGLU: store(products, gelu(load(products)) * load(products + LANES)); break;
    case Finish::SWIGLU: store(products, silu(load(products)) * load(products + LANES)); break;
  }
  if (count == span)
    std::memcpy(to, products, sizeof(float) * span);
  else
    std::memcpy(to, products, sizeof(float) * size_t(count));
}

}  // namespace

Inputs Workspace::inputs(const float* values, ptrdiff_t stride, int width, int tokens) {
  const size_t codes = size_t(round_up(width, GROUP)), groups = codes / GROUP, n = size_t(tokens);
  return {values,
          stride,
          grown(codes_, n * codes),
          ptrdiff_t(codes),
          grown(scales_, n * groups),
          grown(sums_, n * groups),
          ptrdiff_t(groups)};
}

void multiply(Workspace& work, const Matrix& matrix, const float* x, ptrdiff_t stride, int tokens, const Output& output) {
  const Inputs inputs = work.inputs(x, stride, matrix.inputs(), tokens);
  const auto quantise = [&](int begin, int end) {
    for (int token = begin; token < end; token++) matrix.quantise(inputs, token);
  };
  if (matrix.quantises_inputs()) {
    if (tokens <= FEW)
      quantise(0, tokens);
    else
      work.pool.run_ranges(tokens, QUANTISE_GRAIN, quantise);
  }
  const int grain = std::max<int>(1, LEAST_WORK / (PANEL * matrix.inputs() * tokens));
  work.pool.run_ranges(matrix.panels(), grain, [&](int begin, int end) {
    alignas(64) float products[TILE * PANEL];
    for (int panel = begin; panel < end; panel++)
      for (int first = 0; first < tokens; first += TILE) {
        const int count = std::min(TILE, tokens - first);
        matrix.multiply(panel, inputs, first, count, products);
        for (int i = 0; i < count; i++) finish(output, panel, first + i, products + i * PANEL);
      }
  });
}

}  // namespace codenas
