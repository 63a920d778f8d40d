// What codenas/decode/sampling.py does in numpy: softmax at a temperature, truncation, and inversion of the cumulative distribution in
// the order of the vocabulary. Weights are float32 and not normalised, their sums are double.
#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "matrix.h"
#include "simd.h"

namespace codenas {
namespace {

constexpr int BLOCK = 64;  // weights whose sum is kept: the inversion looks into one block only

struct Candidate {
  float logit;  // exact: weights of nearly equal tokens are equal
  float weight;
  int token;
  bool operator<(const Candidate& other) const { return logit != other.logit ? logit > other.logit : token < other.token; }
};

// What one call computes; kept from call to call, so that none allocates.
struct Scratch {
  std::vector<float> weights;
  std::vector<double> blocks;
  std::vector<int> tokens;
  std::vector<Candidate> kept, ranked;
};

float maximum(const float* x, int n) {
  float top = x[0];
  int i = 0;
  if (n >= LANES) {
    vec tops = load(x);
    for (i = LANES; i + LANES <= n; i += LANES) tops = max(tops, load(x + i));
    top = largest(tops);
  }
  for (; i < n; i++) top = std::max(top, x[i]);
  return top;
}

vec weight(vec logits, float top, float scale) {
  const vec x = (logits - top) * scale;
  return x < -87.0f ? vec{} : exp(x);  // an impossible token stays impossible
}

// Weights relative to that of the best token, in whole registers: zeros behind the last one.
void weigh(const float* logits, int n, float top, float scale, std::vector<float>& weights) {
  weights.resize(size_t(round_up(n, BLOCK)));
  std::fill(weights.begin() + n, weights.end(), 0.0f);
  int i = 0;
  for (; i + LANES <= n; i += LANES) store(weights.data() + i, weight(load(logits + i), top, scale));
  if (i == n) return;
  float rest[LANES];
  std::fill(rest, rest + LANES, -INFINITY);
  std::copy(logits + i, logits + n, rest);
  store(rest, weight(load(rest), top, scale));
  std::copy(rest, rest + (n - i), weights.begin() + i);
}

double total_of(const std::vector<float>& weights, std::vector<double>& blocks) {
  blocks.clear();
  double total = 0;
  for (size_t i = 0; i < weights.size(); i += BLOCK) {
    vec part{};
    for (int j = 0; j < BLOCK; j += LANES) part += load(weights.data() + i + size_t(j));
    blocks.push_back(sum(part));
    total += blocks.back();
  }
  return total;
}

int invert(const std::vector<float>& weights, const std::vector<double>& blocks, double target) {
  int last = 0;
  for (size_t block = 0; block < blocks.size(); block++) {
    if (blocks[block] <= target && block + 1 < blocks.size()) {
      target -= blocks[block];
      continue;
    }
    for (size_t i = block * BLOCK; i < (block + 1) * BLOCK; i++) {
      if (weights[i] > 0) last = int(i);
      if (weights[i] > target) return int(i);
      target -= double(weights[i]);
    }
  }
  return last;  // by rounding, the target lay behind the last token
}

// Whether the tokens with weights from `least` on are `count` at least and hold `mass`.
bool enough_above(const std::vector<float>& weights, float least, int count, double mass) {
  double found = 0, held = 0;
  for (size_t i = 0; i < weights.size(); i += BLOCK) {
    vec ones{}, part{};
    for (int j = 0; j < BLOCK; j += LANES) {
      const vec w = load(weights.data() + i + size_t(j));
      ones += w >= least ? broadcast(1.0f) : vec{};
      part += w >= least ? w : vec{};
    }
    found += double(sum(ones));
    held += double(sum(part));
  }
  return found >= count && held >= mass;
}

// A weight from which on the tokens are enough, and not many more: few have to be ranked.
float least_weight(const std::vector<float>& weights, int count, double mass) {
  float least = 0.25f;
  while (least > 1e-30f && !enough_above(weights, least, count, mass)) least *= 0.25f;
  return least > 1e-30f ? least : 0.0f;
}

// The tokens that may be kept, in the order of the vocabulary.
void collect(const float* logits, int n, const Sampling& sampling, double total, Scratch& scratch) {
  float least = float(sampling.min_p);
  if (sampling.top_k) {
    least = std::max(least, least_weight(scratch.weights, sampling.top_k, 0));
  } else if (sampling.top_p < 1) {
    least = std::max(least, least_weight(scratch.weights, 0, sampling.top_p * total));
  }
  scratch.tokens.resize(size_t(n));
  const float* weights = scratch.weights.data();
  int* tokens = scratch.tokens.data();
  int count = 0;
  for (int i = 0; i < n; i++) {
    tokens[count] = i;  // without a branch that could not be predicted
    count += (weights[i] > 0) & (weights[i] >= least);
  }
  scratch.kept.clear();
  for (int i = 0; i < count; i++) scratch.kept.push_back({logits[tokens[i]], weights[tokens[i]], tokens[i]});
}

double mass_of(const Candidate* from, const Candidate* to) {
  double mass = 0;
  for (; from != to; ++from) mass += double(from->weight);
  return mass;
}

// The last of the best of `ranked` with which they hold `mass`. Halves are split and not sorted: far fewer comparisons.
Candidate border_of_mass(std::vector<Candidate>& ranked, double mass) {
  Candidate *first = ranked.data(), *last = first + ranked.size();  // the border is in between
  while (last - first > 8) {
    Candidate* middle = first + (last - first) / 2;
    std::nth_element(first, middle, last);
    const double better = mass_of(first, middle);
    if (better >= mass) {
      last = middle;
    } else {
      first = middle;
      mass -= better;
    }
  }
  std::sort(first, last);
  while (first + 1 != last && double(first->weight) < mass) mass -= double(first++->weight);
  return *first;
}

// Leave only top_k and of these top_p of their mass in `kept`.
void truncate(const Sampling& sampling, double mass, Scratch& scratch) {
  std::vector<Candidate>& ranked = scratch.ranked;
  const auto keep_up_to = [&](const Candidate& border) {
    const auto worse = [&](const Candidate& each) { return border < each; };
    scratch.kept.erase(std::remove_if(scratch.kept.begin(), scratch.kept.end(), worse), scratch.kept.end());
  };
  if (sampling.top_k && size_t(sampling.top_k) < scratch.kept.size()) {
    ranked = scratch.kept;
    std::nth_element(ranked.begin(), ranked.begin() + (sampling.top_k - 1), ranked.end());
    keep_up_to(ranked[size_t(sampling.top_k - 1)]);
  }
  if (sampling.top_p < 1) {
    ranked = scratch.kept;
    if (sampling.top_k) mass = mass_of(ranked.data(), ranked.data() + ranked.size());
    keep_up_to(border_of_mass(ranked, sampling.top_p * mass));
  }
}

int invert_truncated(const std::vector<Candidate>& kept, double drawn) {
  double target = drawn * mass_of(kept.data(), kept.data() + kept.size());
  for (const Candidate& each : kept) {
    if (double(each.weight) > target) return each.token;
    target -= double(each.weight);
  }
  return kept.back().token;  // by rounding, the target lay behind the last token
}

}  // namespace

int sample(const float* logits, int n, const Sampling& sampling, double drawn) {
  static thread_local Scratch scratch;
  const float top = maximum(logits, n);
  if (!std::isfinite(top)) return -1;
  weigh(logits, n, top, float(1 / sampling.temperature), scratch.weights);
  const double total = total_of(scratch.weights, scratch.blocks);
  if (sampling.top_k == 0 && sampling.top_p >= 1 && sampling.min_p <= 0) return invert(scratch.weights, scratch.blocks, drawn * total);
  collect(logits, n, sampling, total, scratch);
  truncate(sampling, total, scratch);
  return invert_truncated(scratch.kept, drawn);
}

}  // namespace codenas
