// The softmax is taken block by block of positions (Milakov and Gimelshein 2018; Dao et al. 2022): scores never leave the cache of
// the processor, whatever the length of the context.
#include "attend.h"

#include "activations.h"

namespace codenas {
namespace {

constexpr int BLOCK = 128;           // positions whose scores are held at once
constexpr int MOST_ROWS = 8;         // queries that share every load of a key or value
constexpr int POSITIONS_AHEAD = 32;  // of values that are prefetched
constexpr float HIDDEN = -1e30f;     // the score of a position that a query does not see
constexpr float LOWEST = -1e20f;     // a maximum to begin with: far above HIDDEN, whose weight is zero even before the first real score

template <class T, int ROWS>
class Tile {
 public:
  Tile(const KvCache<T>& cache, const Queries& queries, int first) : cache_(cache), queries_(queries) {
    for (int i = 0; i < ROWS; i++) {
      const int token = (first + i) / queries.heads, head = (first + i) % queries.heads;
      query_[i] = queries.query + token * queries.query_stride + head * queries.width;
      mixed_[i] = queries.mixed + token * queries.mixed_stride + head * queries.width;
      position_[i] = queries.position + token;
      lowest_[i] = queries.window ? std::max(0, position_[i] - queries.window + 1) : 0;
      slope_[i] = queries.slopes ? queries.slopes[head] : 0;
      most_[i] = LOWEST;
      total_[i] = 0;
    }
  }

  void run() {
    const int end = position_[ROWS - 1] + 1;
    for (int i = 0; i < ROWS; i++) std::memset(mixed_[i], 0, sizeof(float) * size_t(queries_.width));
    for (int begin = lowest_[0] / LANES * LANES; begin < end; begin += BLOCK) {
      const int stop = std::min(begin + BLOCK, end);
      score(begin, stop);
      weigh(begin, stop);
      mix(std::max(begin, lowest_[0]), stop, begin);
    }
    for (int i = 0; i < ROWS; i++)
      for (int k = 0; k < queries_.width; k++) mixed_[i][k] /= total_[i];
  }

 private:
  static constexpr int AT_ONCE = ROWS == 1 ? 4 : ROWS <= 4 ? 4 : 2;  // blocks of LANES positions: as many sums as registers allow

  void score(int begin, int stop) {
    for (int at = begin; at < stop; at += AT_ONCE * LANES) {
      const T* keys[AT_ONCE];
      for (int j = 0; j < AT_ONCE; j++) keys[j] = cache_.key_block(queries_.slot, queries_.key_head, at + j * LANES < stop ? at + j * LANES : at);
      vec sums[ROWS][AT_ONCE] = {};
      for (int k = 0; k < queries_.width; k++) {
        vec key[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++) {
          key[j] = load_float(keys[j] + k * LANES);
          __builtin_prefetch(keys[j] + (AT_ONCE * queries_.width + k) * LANES);  // the blocks after these
        }
        for (int i = 0; i < ROWS; i++) {
          const vec query = broadcast(query_[i][k]);
          for (int j = 0; j < AT_ONCE; j++) sums[i][j] += query * key[j];
        }
      }
      for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < AT_ONCE; j++) store(&scores_[i][at - begin + j * LANES], sums[i][j]);
    }
  }

  // Scores to weights, with what was summed before in units of the new maximum.
  void weigh(int begin, int stop) {
    vec ramp;
    for (int j = 0; j < LANES; j++) ramp[j] = float(j);
    const int padded = round_up(stop - begin, LANES);
    for (int i = 0; i < ROWS; i++) {
      const bool hides = stop - 1 > position_[i] || begin + padded > stop || begin < lowest_[i];
      vec top = broadcast(most_[i]);
      if (hides || slope_[i] != 0)
        for (int k = 0; k < padded; k += LANES) {
          const vec distance = float(position_[i] - begin - k) - ramp;
          vec score = load(&scores_[i][k]) - slope_[i] * distance;
          score = distance < 0 ? broadcast(HIDDEN) : score;
          score = distance > float(position_[i] - lowest_[i]) ? broadcast(HIDDEN) : score;
          store(&scores_[i][k], score);
        }
      for (int k = 0; k < padded; k += LANES) top = max(top, load(&scores_[i][k]));
      const float most = largest(top);
      vec all{};
      for (int k = 0; k < padded; k += LANES) {
        const vec weight = exp(load(&scores_[i][k]) - most);
        store(&scores_[i][k], weight);
        all += weight;
      }
      if (most > most_[i]) {
        const float shrink = exp(broadcast(most_[i] - most))[0];
        total_[i] *= shrink;
        for (int k = 0; k < queries_.width; k++) mixed_[i][k] *= shrink;
        most_[i] = most;
      }
      total_[i] += sum(all);
    }
  }

  void mix(int from, int stop, int begin) {
    int k = 0;
    for (; k + 4 * LANES <= queries_.width && ROWS <= 4; k += 4 * LANES) mix_channels<4>(k, from, stop, begin);
    for (; k + 2 * LANES <= queries_.width; k += 2 * LANES) mix_channels<2>(k, from, stop, begin);
    for (; k < queries_.width; k += LANES) mix_channels<1>(k, from, stop, begin);
  }

  template <int WIDTH>
  void mix_channels(int channel, int from, int stop, int begin) {
    vec sums[ROWS][WIDTH] = {};
    for (int at = from; at < stop; at++) {
      const T* value = cache_.value(queries_.slot, queries_.key_head, at) + channel;
      vec part[WIDTH];
      for (int j = 0; j < WIDTH; j++) {
        part[j] = load_float(value + j * LANES);
        __builtin_prefetch(value + POSITIONS_AHEAD * cache_.padded_width() + j * LANES);
      }
      for (int i = 0; i < ROWS; i++) {
        const vec weight = broadcast(scores_[i][at - begin]);
        for (int j = 0; j < WIDTH; j++) sums[i][j] += weight * part[j];
      }
    }
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < WIDTH; j++) {
        float* to = mixed_[i] + channel + j * LANES;
        const int left = queries_.width - channel - j * LANES;
        if (left >= LANES)
          store(to, load(to) + sums[i][j]);
        else
          for (int k = 0; k < left; k++) to[k] += sums[i][j][k];
      }
  }

  const KvCache<T>& cache_;
  const Queries& queries_;
  const float* query_[ROWS];
  float* mixed_[ROWS];
  int position_[ROWS], lowest_[ROWS];
  float slope_[ROWS], most_[ROWS], total_[ROWS];
  alignas(64) float scores_[ROWS][BLOCK + 4 * LANES];
};

}  // namespace

template <class T>
void attend(const KvCache<T>& cache, const Queries& queries) {
  const int rows = queries.tokens * queries.heads;
  int row = 0;
  for (; row + MOST_ROWS <= rows; row += MOST_ROWS) Tile<T, MOST_ROWS>(cache, queries, row).run();
  for (; row + 4 <= rows; row += 4) Tile<T, 4>(cache, queries, row).run();
  for (; row + 2 <= rows; row += 2) Tile<T, 2>(cache, queries, row).run();
  for (; row < rows; row++) Tile<T, 1>(cache, queries, row).run();
}

template void attend(const KvCache<float>&, const Queries&);
template void attend(const KvCache<half>&, const Queries&);

}  // namespace codenas
