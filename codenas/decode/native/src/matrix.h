// A packed matrix, and its products with the inputs of some tokens.
//
// Rows lie in panels of PANEL, two registers' lanes: for each input (or four, or eight, as the format multiplies them at once) the
// values of a panel's rows are neighbours. So a product reads one stream of memory from its beginning to its end, each lane is one row,
// and nothing is summed across lanes. A row beyond the last one is zero.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

#include "codenas_native.h"
#include "memory.h"
#include "simd.h"

namespace codenas {

constexpr int PANEL = 2 * LANES;
constexpr int TILE = LANES == 16 ? 8 : 4;  // most tokens that are multiplied at once: their sums stay in registers
constexpr int AHEAD = 4096;                // bytes: weights are prefetched so far ahead
constexpr int GROUP = 64;                  // inputs that share a scale in int4

// The inputs of some tokens, and what an integer format makes of them.
struct Inputs {
  const float* values;  // [tokens, stride]
  ptrdiff_t stride;
  int8_t* codes;        // [tokens, codes_stride]
  ptrdiff_t codes_stride;
  float* scales;        // [tokens, scales_stride], one per token or per group
  int32_t* sums;        // of codes, as many as scales
  ptrdiff_t scales_stride;
};

class Matrix {
 public:
  Matrix(int rows, int inputs) : rows_(rows), inputs_(inputs) {}
  virtual ~Matrix() = default;

  int rows() const { return rows_; }
  int inputs() const { return inputs_; }
  int panels() const { return (rows_ + PANEL - 1) / PANEL; }

  virtual void set_row(int row, const cn_tensor& tensor, int64_t from) = 0;  // to row `from` of `tensor`
  virtual void get_row(int row, float* to) const = 0;                       // [inputs]

  virtual bool quantises_inputs() const { return false; }
  virtual void quantise(const Inputs& inputs, int token) const { (void)inputs, (void)token; }

  // The products of one panel with `tokens` <= TILE tokens from `first` on: [tokens, PANEL].
  virtual void multiply(int panel, const Inputs& inputs, int first, int tokens, float* products) const = 0;

 protected:
  const int rows_, inputs_;
};

// The format follows from the type of the stored tensors.
std::unique_ptr<Matrix> make_matrix(Arena& arena, int dtype, int rows, int inputs);

// No less than the bytes that `tensor` takes in an arena, alone or in a stack.
size_t packed_bound(const cn_tensor& tensor);

using Parts = std::vector<const cn_tensor*>;
std::unique_ptr<Matrix> stack(Arena& arena, const Parts& parts);  // the rows of all parts, one part after the other
std::unique_ptr<Matrix> interleave(Arena& arena, const cn_tensor& first, const cn_tensor& second);  // LANES rows of each in turn
std::unique_ptr<Matrix> transpose(Arena& arena, const cn_tensor& tensor, float factor);  // in float32: exact for every storage

std::unique_ptr<Matrix> make_float32_matrix(Arena& arena, int rows, int inputs);
std::unique_ptr<Matrix> make_float16_matrix(Arena& arena, int rows, int inputs);
std::unique_ptr<Matrix> make_int8_matrix(Arena& arena, int rows, int inputs);
std::unique_ptr<Matrix> make_int4_matrix(Arena& arena, int rows, int inputs);

// Call `tile.template operator()<M>()` with M = tokens, a constant there.
template <class Tile>
inline void with_tokens(int tokens, const Tile& tile) {
  switch (tokens) {
    case 1: return tile(std::integral_constant<int, 1>());
    case 2: return tile(std::integral_constant<int, 2>());
    case 3: return tile(std::integral_constant<int, 3>());
    case 4: return tile(std::integral_constant<int, 4>());
  }
  if constexpr (TILE == 8) {
    switch (tokens) {
      case 5: return tile(std::integral_constant<int, 5>());
      case 6: return tile(std::integral_constant<int, 6>());
      case 7: return tile(std::integral_constant<int, 7>());
      case 8: return tile(std::integral_constant<int, 8>());
    }
  }
}

inline int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

}  // namespace codenas
