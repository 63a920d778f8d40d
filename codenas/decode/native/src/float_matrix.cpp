// Matrices in float32 and float16. Products are in float32: weights in half precision are widened in a register, which costs nothing
// where memory is the limit, and rounds nothing.
#include <type_traits>

#include "errors.h"
#include "matrix.h"

namespace codenas {
namespace {

template <class T>
class FloatMatrix final : public Matrix {
 public:
  FloatMatrix(Arena& arena, int rows, int inputs)
      : Matrix(rows, inputs), panel_size_(size_t(inputs) * PANEL), values_(arena.take<T>(panel_size_ * size_t(panels()))) {}

  void set_row(int row, const cn_tensor& tensor, int64_t from) override {
    const T* source = static_cast<const T*>(tensor.values) + from * inputs_;
    T* target = at(row);
    for (int k = 0; k < inputs_; k++) target[size_t(k) * PANEL] = source[k];
  }

  void get_row(int row, float* to) const override {
    const T* source = at(row);
    for (int k = 0; k < inputs_; k++) {
      if constexpr (std::is_same_v<T, float>)
        to[k] = source[size_t(k) * PANEL];
      else
        to[k] = half_to_float(source[size_t(k) * PANEL]);
    }
  }

  void multiply(int panel, const Inputs& inputs, int first, int tokens, float* products) const override {
    const T* weights = values_ + size_t(panel) * panel_size_;
    const float* x = inputs.values + first * inputs.stride;
    with_tokens(tokens, [&](auto count) { tile<count>(weights, x, inputs.stride, products); });
  }

 private:
  T* at(int row) const { return values_ + size_t(row / PANEL) * panel_size_ + row % PANEL; }

  template <int TOKENS>
  void tile(const T* weights, const float* x, ptrdiff_t stride, float* products) const {
    constexpr int CHAINS = TOKENS == 1 ? 4 : TOKENS == 2 ? 2 : 1;  // independent sums, to wait for none of them
    vec total[CHAINS][TOKENS][2] = {};
    const auto step = [&](int k, int chain) {
      const vec left = load_float(weights + size_t(k) * PANEL), right = load_float(weights + size_t(k) * PANEL + LANES);
      for (int m = 0; m < TOKENS; m++) {
        const vec input = broadcast(x[m * stride + k]);
        total[chain][m][0] += left * input;
        total[chain][m][1] += right * input;
      }
    };
    int k = 0;
    for (; k + CHAINS <= inputs_; k += CHAINS)
      for (int chain = 0; chain < CHAINS; chain++) {
        __builtin_prefetch(reinterpret_cast<const char*>(weights + size_t(k + chain) * PANEL) + AHEAD);
        step(k + chain, chain);
      }
    for (; k < inputs_; k++) step(k, 0);
    for (int m = 0; m < TOKENS; m++)
      for (int j = 0; j < 2; j++) {
        vec all = total[0][m][j];
        for (int chain = 1; chain < CHAINS; chain++) all += total[chain][m][j];
        store(products + m * PANEL + j * LANES, all);
      }
  }

  const size_t panel_size_;
  T* const values_;  // [panels, inputs, PANEL]
};

}  // namespace

std::unique_ptr<Matrix> make_float32_matrix(Arena& arena, int rows, int inputs) {
  return std::make_unique<FloatMatrix<float>>(arena, rows, inputs);
}

std::unique_ptr<Matrix> make_float16_matrix(Arena& arena, int rows, int inputs) {
  return std::make_unique<FloatMatrix<half>>(arena, rows, inputs);
}

}  // namespace codenas
