// Token by token in one pass over the state each: while a token writes, the values that the next one removes are summed. The chunked
// form of training (triangular inverses of scores) saves no multiplication at the widths of heads, only loads and stores that the
// nearest cache delivers at the same time as the multiplications are done.
#include "delta.h"

#include <algorithm>

#include "elementwise.h"

namespace codenas {
namespace {

constexpr int WIDTH = LANES == 16 ? 4 : 2;  // registers of columns at once; their sums stay in registers

// Some columns of the state: `REGISTERS` registers, of which `lanes` lanes of the last one are values.
template <int REGISTERS>
class Columns {
 public:
  Columns(const DeltaTokens& tokens, int width, int column, int lanes, float* state)
      : tokens_(tokens), width_(width), columns_(delta_state_columns(width)), column_(column), lanes_(lanes), state_(state + column) {}

  void run() {
    const float* row = state_;
    for (int k = 0; k < width_; k++, row += columns_)
      for (int j = 0; j < REGISTERS; j++) removed_[j] += tokens_.removal[k] * load(row + j * LANES);
    for (int token = 0; token + 1 < tokens_.tokens; token++) advance<true>(token);
    advance<false>(tokens_.tokens - 1);
  }

 private:
  template <bool HAS_NEXT>
  void advance(int token) {
    const ptrdiff_t at = token * tokens_.stride;
    const float *query = tokens_.query + at, *decay = tokens_.decay + at, *replacement = tokens_.replacement + at, *key = tokens_.key + at;
    const float* removal = HAS_NEXT ? tokens_.removal + at + tokens_.stride : nullptr;
    vec value[REGISTERS], output[REGISTERS] = {}, removed[REGISTERS] = {};
    for (int j = 0; j < REGISTERS; j++) value[j] = load_lanes(tokens_.value + at + column_ + j * LANES);
    float* row = state_;
    for (int k = 0; k < width_; k++, row += columns_)
      for (int j = 0; j < REGISTERS; j++) {
        vec h = load(row + j * LANES) * decay[k] - removed_[j] * replacement[k] + value[j] * key[k];
        store(row + j * LANES, h);
        output[j] += h * query[k];
        if (HAS_NEXT) removed[j] += h * removal[k];
      }
    for (int j = 0; j < REGISTERS; j++) {
      store_lanes(tokens_.output + token * tokens_.output_stride + column_ + j * LANES, output[j]);
      removed_[j] = removed[j];
    }
  }

  vec load_lanes(const float* from) const { return lanes_ == LANES ? load(from) : load_first(from, lanes_); }
  void store_lanes(float* to, vec v) const { lanes_ == LANES ? store(to, v) : store_first(to, v, lanes_); }

  const DeltaTokens& tokens_;
  const int width_, columns_, column_, lanes_;
  float* const state_;
  vec removed_[REGISTERS] = {};  // the values of the next token's removal key
};

}  // namespace

int delta_state_columns(int width) { return (width + LANES - 1) / LANES * LANES; }

void delta_rule(const DeltaTokens& tokens, int width, float* state) {
  int column = 0;
  for (; column + WIDTH * LANES <= width; column += WIDTH * LANES) Columns<WIDTH>(tokens, width, column, LANES, state).run();
  for (; column < width; column += LANES) Columns<1>(tokens, width, column, std::min(LANES, width - column), state).run();
}

}  // namespace codenas
