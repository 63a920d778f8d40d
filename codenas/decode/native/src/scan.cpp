// Blocks of tokens are read and written in one pass over the state (Dao and Gu 2024, "state space duality"): inside a block this is
// attention with decaying weights. A block of T tokens takes 2 T + 1 multiplications per element of the state and loads and stores it
// once, T blocks of one token take 3 T and T times the memory; larger blocks gain nothing, since their weights grow with T^2.
#include "scan.h"

#include <algorithm>

#include "elementwise.h"

namespace codenas {
namespace {

constexpr int BLOCK = LANES == 16 ? 8 : 4;  // tokens whose outputs and values stay in registers

template <int TOKENS>
class Block {
 public:
  Block(const ScanTokens& tokens, int first, int key_width) : tokens_(tokens), first_(first), key_width_(key_width) {
    float elapsed[TOKENS];  // sums of log decays from the beginning of the block to a token, itself included
    float sum = 0;
    for (int t = 0; t < TOKENS; t++) elapsed[t] = sum += tokens.log_decay[first + t];
    decay_ = exponential(sum);
    for (int t = 0; t < TOKENS; t++) {
      read_[t] = exponential(elapsed[t]);
      kept_[t] = exponential(sum - elapsed[t]) * tokens.strength[first + t];
      for (int s = 0; s <= t; s++)
        weights_[t][s] = exponential(elapsed[t] - elapsed[s]) * tokens.strength[first + s] * dot(query(t), key(s), key_width);
      weights_[t][t] += tokens.skip;
    }
  }

  void run(int value_width, float* state) const {
    const int columns = scan_state_columns(value_width);
    int column = 0;
    for (; column + WIDTH * LANES <= value_width; column += WIDTH * LANES) run_columns<WIDTH>(column, LANES, columns, state);
    for (; column < value_width; column += LANES) run_columns<1>(column, std::min(LANES, value_width - column), columns, state);
  }

 private:
  static constexpr int WIDTH = std::max(1, std::min(4, BLOCK / TOKENS));  // registers of columns at once

  static float exponential(float x) { return exp(broadcast(x))[0]; }

  const float* query(int t) const { return tokens_.query + (first_ + t) * tokens_.key_stride; }
  const float* key(int t) const { return tokens_.key + (first_ + t) * tokens_.key_stride; }

  // `lanes` of the last register are values.
  template <int REGISTERS>
  void run_columns(int column, int lanes, int columns, float* state) const {
    const float *queries[TOKENS], *keys[TOKENS];
    vec written[TOKENS][REGISTERS], output[TOKENS][REGISTERS] = {};
    for (int t = 0; t < TOKENS; t++) {
      queries[t] = query(t);
      keys[t] = key(t);
      for (int j = 0; j < REGISTERS; j++) written[t][j] = value(t, column + j * LANES, lanes) * kept_[t];
    }
    float* row = state + column;
    for (int k = 0; k < key_width_; k++, row += columns)
      for (int j = 0; j < REGISTERS; j++) {
        vec s = load(row + j * LANES);
        for (int t = 0; t < TOKENS; t++) output[t][j] += queries[t][k] * s;
        s *= decay_;
        for (int t = 0; t < TOKENS; t++) s += keys[t][k] * written[t][j];
        store(row + j * LANES, s);
      }
    for (int j = 0; j < REGISTERS; j++) {
      vec values[TOKENS];
      for (int t = 0; t < TOKENS; t++) {
        values[t] = value(t, column + j * LANES, lanes);
        vec result = output[t][j] * read_[t];
        for (int s = 0; s <= t; s++) result += weights_[t][s] * values[s];
        float* to = tokens_.output + (first_ + t) * tokens_.output_stride + column + j * LANES;
        lanes == LANES ? store(to, result) : store_first(to, result, lanes);
      }
    }
  }

  vec value(int t, int column, int lanes) const {
    const float* from = tokens_.value + (first_ + t) * tokens_.value_stride + column;
    return lanes == LANES ? load(from) : load_first(from, lanes);
  }

  const ScanTokens& tokens_;
  const int first_, key_width_;
  float decay_, read_[TOKENS], kept_[TOKENS], weights_[TOKENS][TOKENS];
};

}  // namespace

int scan_state_columns(int value_width) { return (value_width + LANES - 1) / LANES * LANES; }

void scan(const ScanTokens& tokens, int key_width, int value_width, float* state) {
  int first = 0;
  for (; first + BLOCK <= tokens.tokens; first += BLOCK) Block<BLOCK>(tokens, first, key_width).run(value_width, state);
  for (; first + 4 <= tokens.tokens; first += 4) Block<4>(tokens, first, key_width).run(value_width, state);
  for (; first < tokens.tokens; first++) Block<1>(tokens, first, key_width).run(value_width, state);
}

}  // namespace codenas
