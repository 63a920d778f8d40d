// Matrices in int4 with a scale per row and group of 64 inputs. The inputs of a token are rounded to int8 with a scale per group too,
// so within a group all sums are exact integers.
#include "matrix.h"

namespace codenas {
namespace {

constexpr int STEP = 8;  // inputs in the four bytes that a row has in a register: the even ones low, the odd ones high, as stored
constexpr int STEPS = GROUP / STEP;
constexpr int PART = STEPS < NIBBLE_DOTS / 2 ? STEPS : NIBBLE_DOTS / 2;  // steps of two dot products whose sums need no more bits
constexpr int8_t ZERO = 8;  // a weight of 0 as a nibble

class Int4Matrix final : public Matrix {
 public:
  Int4Matrix(Arena& arena, int rows, int inputs)
      : Matrix(rows, inputs), groups_((inputs + GROUP - 1) / GROUP), panel_bytes_(GROUP_BYTES * size_t(groups_)), data_(arena.take<char>(panel_bytes_ * size_t(panels()))) {}

  void set_row(int row, const cn_tensor& tensor, int64_t from) override {
    const ptrdiff_t stored = (inputs_ + 1) / 2;  // bytes of a row
    const uint8_t* source = static_cast<const uint8_t*>(tensor.values) + from * stored;
    for (int group = 0; group < groups_; group++) {
      char* target = at(row, group);
      reinterpret_cast<half*>(target)[row % PANEL] = tensor.scales[from * groups_ + group];
      const ptrdiff_t begin = group * (GROUP / 2), count = stored - begin < GROUP / 2 ? stored - begin : GROUP / 2;
      uint8_t nibbles[GROUP / 2] = {};  // behind the end inputs are zero, so weights may be anything
      std::memcpy(nibbles, source + begin, size_t(count));
      for (int step = 0; step < STEPS; step++) std::memcpy(target + SCALES_BYTES + (step * PANEL + row % PANEL) * 4, nibbles + step * 4, 4);
    }
  }

  void get_row(int row, float* to) const override {
    for (int k = 0; k < inputs_; k++) {
      const char* source = at(row, k / GROUP);
      const int step = k % GROUP / STEP;
      const uint8_t pair = uint8_t(source[SCALES_BYTES + (step * PANEL + row % PANEL) * 4 + size_t(k % STEP / 2)]);
      const int nibble = k % 2 ? pair >> 4 : pair & 15;
      to[k] = half_to_float(reinterpret_cast<const half*>(source)[row % PANEL]) * float(nibble - ZERO);
    }
  }

  bool quantises_inputs() const override { return true; }

  void quantise(const Inputs& inputs, int token) const override {
    const float* x = inputs.values + token * inputs.stride;
    int8_t* to = inputs.codes + token * inputs.codes_stride;
    for (int group = 0; group < groups_; group++, to += GROUP) {
      const int begin = group * GROUP;
      vec values[GROUP / LANES], top{};
      for (int i = 0; i < GROUP / LANES; i++) {
        const int left = inputs_ - begin - i * LANES;
        values[i] = left >= LANES ? load(x + begin + i * LANES) : left > 0 ? load_first(x + begin + i * LANES, left) : vec{};
        top = max(top, abs(values[i]));
      }
      const float most = largest(top);
      const vec factor = broadcast(most > 0 ? 127 / most : 0);
      ivec total{};
      int8_t codes[GROUP];
      for (int i = 0; i < GROUP / LANES; i++) {
        const ivec rounded = round_to_int(values[i] * factor);
        total += rounded;
        const few_bytes narrow = __builtin_convertvector(rounded, few_bytes);
        std::memcpy(codes + i * LANES, &narrow, sizeof narrow);
      }
      split_pairs(codes, to);
      inputs.scales[token * inputs.scales_stride + group] = most / 127;
      inputs.sums[token * inputs.scales_stride + group] = sum(total);
    }
  }

  void multiply(int panel, const Inputs& inputs, int first, int tokens, float* products) const override {
    const char* data = data_ + size_t(panel) * panel_bytes_;
    with_tokens(tokens, [&](auto count) { tile<count>(data, inputs, first, products); });
  }

 private:
  static constexpr size_t SCALES_BYTES = PANEL * sizeof(half);
  static constexpr size_t GROUP_BYTES = SCALES_BYTES + size_t(PANEL) * GROUP / 2;

  char* at(int row, int group) const { return data_ + size_t(row / PANEL) * panel_bytes_ + size_t(group) * GROUP_BYTES; }

  // Of every eight codes the even ones, then the odd ones: as low and high halves of the weights' bytes.
  static void split_pairs(const int8_t* codes, int8_t* to) {
    for (int i = 0; i < GROUP; i += 8) {
      uint64_t eight;
      std::memcpy(&eight, codes + i, 8);
#if defined(__BMI2__)
      const uint64_t split = _pext_u64(eight, 0x00ff00ff00ff00ff) | _pext_u64(eight, 0xff00ff00ff00ff00) << 32;
      std::memcpy(to + i, &split, 8);
#else
      for (int j = 0; j < 8; j++) to[i + j % 2 * 4 + j / 2] = codes[i + j];
#endif
    }
  }

  template <int TOKENS>
  void tile(const char* data, const Inputs& inputs, int first, float* products) const {
    const bytes low = bytes{} + int8_t(15);
    const int8_t* x = inputs.codes + first * inputs.codes_stride;
    const ptrdiff_t stride = inputs.codes_stride;
    vec result[TOKENS][2] = {};
    for (int group = 0; group < groups_; group++, data += GROUP_BYTES, x += GROUP) {
      ivec total[TOKENS][2] = {};
      const char* weights = data + SCALES_BYTES;
      for (int part = 0; part < STEPS; part += PART) {
        nibble_sum sums[TOKENS][2] = {};
#pragma GCC unroll 1 // unrolled, its sums leave the registers
        for (int step = part; step < part + PART; step++, weights += PANEL * 4) {
          __builtin_prefetch(weights + AHEAD);
          if (LANES == 16) __builtin_prefetch(weights + AHEAD + 64);
          bytes even[2], odd[2];
          for (int j = 0; j < 2; j++) {
            const bytes pairs = load<bytes>(weights + j * LANES * 4);
            even[j] = pairs & low;
            odd[j] = (bytes)((ivec)pairs >> 4) & low;
          }
          for (int m = 0; m < TOKENS; m++) {
            const bytes first_four = repeat4(x + m * stride + step * STEP), others = repeat4(x + m * stride + step * STEP + 4);
            for (int j = 0; j < 2; j++) sums[m][j] = dot_nibbles(dot_nibbles(sums[m][j], even[j], first_four), odd[j], others);
          }
        }
        for (int m = 0; m < TOKENS; m++)
          for (int j = 0; j < 2; j++) total[m][j] += widen(sums[m][j]);
      }
      const half* scales = reinterpret_cast<const half*>(data);
      for (int m = 0; m < TOKENS; m++) {
        const ptrdiff_t at = (first + m) * inputs.scales_stride + group;
        const ivec bias = ZERO * inputs.sums[at] - ivec{};
        const vec scale = broadcast(inputs.scales[at]);
        for (int j = 0; j < 2; j++)
          result[m][j] += __builtin_convertvector(total[m][j] - bias, vec) * scale * load_half(scales + j * LANES);
      }
    }
    for (int m = 0; m < TOKENS; m++)
      for (int j = 0; j < 2; j++) store(products + m * PANEL + j * LANES, result[m][j]);
  }

  const int groups_;
  const size_t panel_bytes_;
  char* const data_;  // [panels, groups]: scales, [PANEL] half, and pairs of weights, [STEPS, PANEL, 4]
};

}  // namespace

std::unique_ptr<Matrix> make_int4_matrix(Arena& arena, int rows, int inputs) { return std::make_unique<Int4Matrix>(arena, rows, inputs); }

}  // namespace codenas
