// Matrices in int8 with a scale per row. The inputs of a token are rounded to int8 with one scale; all sums are exact integers.
#include "matrix.h"

namespace codenas {
namespace {

constexpr int STEP = 4;  // inputs of one dot product of bytes

class Int8Matrix final : public Matrix {
 public:
  Int8Matrix(Arena& arena, int rows, int inputs)
      : Matrix(rows, inputs),
        steps_(round_up(inputs, 2 * STEP) / STEP),
        panel_bytes_(SCALES_BYTES + size_t(steps_) * PANEL * STEP),
        data_(arena.take<char>(panel_bytes_ * size_t(panels()))) {
    if (WEIGHT_BIAS != 0)
      for (int panel = 0; panel < panels(); panel++)
        std::memset(data_ + size_t(panel) * panel_bytes_ + SCALES_BYTES, WEIGHT_BIAS, panel_bytes_ - SCALES_BYTES);
  }

  void set_row(int row, const cn_tensor& tensor, int64_t from) override {
    const int8_t* source = static_cast<const int8_t*>(tensor.values) + from * inputs_;
    scales(row)[row % PANEL] = half_to_float(tensor.scales[from]);
    int8_t* target = codes(row);
    for (int k = 0; k < inputs_; k++) target[size_t(k / STEP) * PANEL * STEP + k % STEP] = int8_t(source[k] + WEIGHT_BIAS);
  }

  void get_row(int row, float* to) const override {
    const int8_t* source = codes(row);
    const float scale = scales(row)[row % PANEL];
    for (int k = 0; k < inputs_; k++) to[k] = scale * float(int8_t(source[size_t(k / STEP) * PANEL * STEP + k % STEP] - WEIGHT_BIAS));
  }

  bool quantises_inputs() const override { return true; }

  void quantise(const Inputs& inputs, int token) const override {
    const float* x = inputs.values + token * inputs.stride;
    int8_t* to = inputs.codes + token * inputs.codes_stride;
    vec top{};
    int k = 0;
    for (; k + LANES <= inputs_; k += LANES) top = max(top, abs(load(x + k)));
    if (k < inputs_) top = max(top, abs(load_first(x + k, inputs_ - k)));
    const float most = largest(top);
    const vec factor = broadcast(most > 0 ? 127 / most : 0);
    ivec total{};
    for (k = 0; k < inputs_; k += LANES) {
      const vec value = k + LANES <= inputs_ ? load(x + k) : load_first(x + k, inputs_ - k);
      const ivec rounded = round_to_int(value * factor);
      total += rounded;
      const few_bytes narrow = __builtin_convertvector(rounded, few_bytes);
      std::memcpy(to + k, &narrow, sizeof narrow);
    }
    for (; k < steps_ * STEP; k++) to[k] = 0;
    inputs.scales[token * inputs.scales_stride] = most / 127;
    inputs.sums[token * inputs.scales_stride] = sum(total);
  }

  void multiply(int panel, const Inputs& inputs, int first, int tokens, float* products) const override {
    const char* data = data_ + size_t(panel) * panel_bytes_;
    with_tokens(tokens, [&](auto count) { tile<count>(data, inputs, first, products); });
  }

 private:
  static constexpr size_t SCALES_BYTES = PANEL * sizeof(float);

  float* scales(int row) const { return reinterpret_cast<float*>(data_ + size_t(row / PANEL) * panel_bytes_); }
  int8_t* codes(int row) const {
    return reinterpret_cast<int8_t*>(data_ + size_t(row / PANEL) * panel_bytes_ + SCALES_BYTES) + row % PANEL * STEP;
  }

  template <int TOKENS>
  void tile(const char* data, const Inputs& inputs, int first, float* products) const {
    constexpr int CHAINS = TOKENS <= 2 ? 2 : 1;
    const int8_t *weights = reinterpret_cast<const int8_t*>(data + SCALES_BYTES), *x = inputs.codes + first * inputs.codes_stride;
    const ptrdiff_t stride = inputs.codes_stride;
    ivec total[CHAINS][TOKENS][2] = {};
    for (int step = 0; step < steps_; step += CHAINS)
      for (int chain = 0; chain < CHAINS; chain++) {
        const int8_t* w = weights + size_t(step + chain) * PANEL * STEP;
        __builtin_prefetch(w + AHEAD);
        if (LANES == 16) __builtin_prefetch(w + AHEAD + 64);
        const bytes left = load<bytes>(w), right = load<bytes>(w + LANES * STEP);
        for (int m = 0; m < TOKENS; m++) {
          const bytes input = repeat4(x + m * stride + (step + chain) * STEP);
          total[chain][m][0] = dot(total[chain][m][0], left, input);
          total[chain][m][1] = dot(total[chain][m][1], right, input);
        }
      }
    const float* scales = reinterpret_cast<const float*>(data);
    for (int m = 0; m < TOKENS; m++) {
      const ptrdiff_t at = (first + m) * inputs.scales_stride;
      const ivec bias = WEIGHT_BIAS * inputs.sums[at] - ivec{};
      const vec scale = broadcast(inputs.scales[at]);
      for (int j = 0; j < 2; j++) {
        const ivec all = CHAINS == 2 ? total[0][m][j] + total[CHAINS - 1][m][j] : total[0][m][j];
        store(products + m * PANEL + j * LANES, __builtin_convertvector(all - bias, vec) * load(scales + j * LANES) * scale);
      }
    }
  }

  const int steps_;  // even, for two chains
  const size_t panel_bytes_;
  char* const data_;  // [panels]: scales, [PANEL] float, and codes, [steps, PANEL, STEP]
};

}  // namespace

std::unique_ptr<Matrix> make_int8_matrix(Arena& arena, int rows, int inputs) { return std::make_unique<Int8Matrix>(arena, rows, inputs); }

}  // namespace codenas
