// RWKV-7 time mixing: inputs mixed with the ones before, low-rank decays, rates and gates, the delta rule, and a bonus for the token
// itself.
#include <algorithm>
#include <cmath>

#include "delta.h"
#include "elementwise.h"
#include "errors.h"
#include "multiply.h"
#include "norms.h"
#include "recurrent.h"

namespace codenas {
namespace {

constexpr float FASTEST_DECAY = -0.606531f;  // log of the fastest decay of a channel: -exp(-1/2)
constexpr float HEAD_EPSILON = 64e-5f;
constexpr float SHORTEST = 1e-12f;           // shorter vectors are not normalised

// What the shifted inputs become, in the order of the model's shifts; a row of a token has them one after the other.
enum Part { RECEPTANCE, KEY, VALUE, DECAY, RATE, GATE, REMOVAL, PARTS };
constexpr int SHIFTS = 6;

// A projection through few channels, with a function of them between its matrices.
struct LowRank {
  LowRank(const LayerParts& parts, const std::string& name, int rank)
      : down(stack(parts.arena, {&parts.matrix(name + ".0", rank, parts.arch.d_model)})),
        up(stack(parts.arena, {&parts.matrix(name + ".2", parts.arch.d_model, rank)})) {}

  template <class Function>
  void multiply(Workspace& work, const float* x, ptrdiff_t stride, int tokens, const Output& output, const Function& function) const {
    const int rank = down->rows();
    float* inner = work.floats(Scratch::RANKS, size_t(tokens) * size_t(rank));
    codenas::multiply(work, *down, x, stride, tokens, {inner, rank, rank});
    each_register(tokens * rank, [&](int k, auto lanes) { store_first(inner + k, function(load_first(inner + k, lanes)), lanes); });
    codenas::multiply(work, *up, inner, rank, tokens, output);
  }

  std::unique_ptr<Matrix> down, up;
};

// State: the matrices of all heads, then the last input, [d_model].
class Rwkv7 final : public RecurrentMixer {
 public:
  explicit Rwkv7(const LayerParts& parts)
      : RecurrentMixer(parts.options.slots, size_t(parts.mixer.n_heads) * head_state(parts.mixer.head_width) + size_t(parts.arch.d_model)),
        work_(parts.work),
        d_model_(parts.arch.d_model),
        heads_(parts.mixer.n_heads),
        width_(parts.mixer.head_width),
        shift_(parts.vector("shift", int64_t(SHIFTS) * d_model_)),
        decay_offset_(parts.vector("decay_offset", d_model_)),
        rate_offset_(parts.vector("rate_offset", d_model_)),
        removal_gain_(parts.vector("removal_gain", d_model_)),
        key_rate_(parts.vector("key_rate", d_model_)),
        bonus_(parts.vector("bonus", d_model_)),
        norm_gain_(parts.vector("norm_gain", d_model_)),
        receptance_(stack(parts.arena, {&parts.matrix("receptance", d_model_, d_model_)})),
        key_(stack(parts.arena, {&parts.matrix("key", d_model_, d_model_)})),
        value_(stack(parts.arena, {&parts.matrix("value", d_model_, d_model_)})),
        decay_(parts, "decay", parts.mixer.rank),
        rate_(parts, "rate", parts.mixer.rank),
        gate_(parts, "gate", parts.mixer.gate_rank),
        output_(stack(parts.arena, {&parts.matrix("output", d_model_, d_model_)})) {}

  void forward(const Batch& batch, const float* x, float* residual) override {
    const size_t tokens = size_t(batch.tokens);
    float* shifted = work_.floats(Scratch::SHIFTED, tokens * SHIFTS * size_t(d_model_));
    float* parts = work_.floats(Scratch::PROJECTED, tokens * PARTS * size_t(d_model_));
    float* mixed = work_.floats(Scratch::MIXED, tokens * size_t(d_model_));
    for (const Run& run : batch.runs) shift(run, x, shifted);
    project(shifted, batch.tokens, parts);
    work_.pool.run_ranges(int(batch.runs.size()) * heads_, 1, [&](int begin, int end) {
      for (int i = begin; i < end; i++) mix(batch.runs[size_t(i / heads_)], i % heads_, parts, mixed);
    });
    multiply(work_, *output_, mixed, d_model_, batch.tokens, {residual, d_model_, d_model_, Finish::ADD});
  }

 private:
  static constexpr int AT_ONCE = 16;        // tokens of a head that stay in the nearest cache between their steps
  static constexpr int TOKENS_AT_ONCE = 8;  // that one thread shifts

  static size_t head_state(int width) { return size_t(width) * size_t(delta_state_columns(width)); }

  // The inputs of a run, each mixed with the one before by every shift.
  void shift(const Run& run, const float* x, float* shifted) {
    float* last = state(run.slot) + size_t(heads_) * head_state(width_);
    const float* inputs = x + size_t(run.first) * size_t(d_model_);
    work_.pool.run_ranges(run.count, TOKENS_AT_ONCE, [&](int begin, int end) {
      for (int token = begin; token < end; token++) {
        const float *now = inputs + size_t(token) * size_t(d_model_), *before = token ? now - d_model_ : last;
        float* to = shifted + size_t(run.first + token) * SHIFTS * size_t(d_model_);
        each_register(d_model_, [&](int k, auto lanes) {
          const vec input = load_first(now + k, lanes), back = load_first(before + k, lanes) - input;
          for (int i = 0; i < SHIFTS; i++)
            store_first(to + i * d_model_ + k, input + back * load_first(shift_.data() + i * d_model_ + k, lanes), lanes);
        });
      }
    });
    std::memcpy(last, inputs + size_t(run.count - 1) * size_t(d_model_), sizeof(float) * size_t(d_model_));
  }

  void project(const float* shifted, int tokens, float* parts) {
    const ptrdiff_t stride = SHIFTS * d_model_;
    const auto input = [&](int part) { return shifted + part * d_model_; };
    const auto output = [&](int part) { return Output{parts + part * d_model_, PARTS * d_model_, d_model_}; };
    multiply(work_, *receptance_, input(RECEPTANCE), stride, tokens, output(RECEPTANCE));
    multiply(work_, *key_, input(KEY), stride, tokens, output(KEY));
    multiply(work_, *value_, input(VALUE), stride, tokens, output(VALUE));
    decay_.multiply(work_, input(DECAY), stride, tokens, output(DECAY), [](vec x) { return tanh(x); });
    rate_.multiply(work_, input(RATE), stride, tokens, output(RATE), [](vec x) { return x; });
    gate_.multiply(work_, input(GATE), stride, tokens, output(GATE), [](vec x) { return sigmoid(x); });
  }

  void mix(const Run& run, int head, float* parts, float* mixed) {
    float* matrix = state(run.slot) + size_t(head) * head_state(width_);
    const ptrdiff_t stride = PARTS * d_model_;
    for (int done = 0; done < run.count; done += AT_ONCE) {
      const int first = run.first + done, count = std::min(AT_ONCE, run.count - done);
      float *rows = parts + first * stride + head * width_, *to = mixed + ptrdiff_t(first) * d_model_ + head * width_;
      const auto part = [&](int which) { return rows + which * d_model_; };
      for (int t = 0; t < count; t++) prepare(head, rows + t * stride);
      delta_rule({part(RECEPTANCE), part(DECAY), part(REMOVAL), part(RATE), part(KEY), part(VALUE), stride, to, d_model_, count}, width_, matrix);
      for (int t = 0; t < count; t++) finish(head, rows + t * stride, to + t * d_model_);
    }
  }

  // Projections of one token and head to what the delta rule reads, in their places: the rate becomes the replacement.
  void prepare(int head, float* row) const {
    const int channel = head * width_;
    float *key = row + KEY * d_model_, *decay = row + DECAY * d_model_, *rate = row + RATE * d_model_, *removal = row + REMOVAL * d_model_;
    vec squares{};
    each_register(width_, [&](int k, auto lanes) {
      const vec r = load_first(key + k, lanes) * load_first(removal_gain_.data() + channel + k, lanes);
      store_first(removal + k, r, lanes);
      squares += r * r;
    });
    const float length = 1 / std::sqrt(std::max(sum(squares), SHORTEST * SHORTEST));
    each_register(width_, [&](int k, auto lanes) {
      const auto weights = [&](const std::vector<float>& of) { return load_first(of.data() + channel + k, lanes); };
      const vec learning = sigmoid(load_first(rate + k, lanes) + weights(rate_offset_)), unit = load_first(removal + k, lanes) * length;
      store_first(decay + k, exp(FASTEST_DECAY * sigmoid(load_first(decay + k, lanes) + weights(decay_offset_))), lanes);
      store_first(key + k, load_first(key + k, lanes) * (1 + (learning - 1) * weights(key_rate_)), lanes);
      store_first(removal + k, unit, lanes);
      store_first(rate + k, unit * learning, lanes);
    });
  }

  // Normalise what the head has read, add the token's own value as far as its key answers its receptance, and gate both.
  void finish(int head, const float* row, float* mixed) const {
    const int channel = head * width_;
    const float *query = row + RECEPTANCE * d_model_, *key = row + KEY * d_model_, *value = row + VALUE * d_model_, *gate = row + GATE * d_model_;
    vec answers{};
    each_register(width_, [&](int k, auto lanes) {
      answers += load_first(query + k, lanes) * load_first(key + k, lanes) * load_first(bonus_.data() + channel + k, lanes);
    });
    const float answer = sum(answers);
    layer_norm(mixed, norm_gain_.data() + channel, width_, mixed, HEAD_EPSILON);
    each_register(width_, [&](int k, auto lanes) {
      const vec total = load_first(mixed + k, lanes) + answer * load_first(value + k, lanes);
      store_first(mixed + k, total * load_first(gate + k, lanes), lanes);
    });
  }

  Workspace& work_;
  const int d_model_, heads_, width_;
  const std::vector<float> shift_, decay_offset_, rate_offset_, removal_gain_, key_rate_, bonus_, norm_gain_;
  const std::unique_ptr<Matrix> receptance_, key_, value_;
  const LowRank decay_, rate_, gate_;
  const std::unique_ptr<Matrix> output_;
};

}  // namespace

std::unique_ptr<Mixer> make_rwkv7(const LayerParts& parts) {
  const cn_mixer& mixer = parts.mixer;
  require(mixer.n_heads > 0 && mixer.head_width > 0 && int64_t(mixer.n_heads) * mixer.head_width == parts.arch.d_model && mixer.rank > 0 &&
              mixer.gate_rank > 0,
          parts.prefix + " is no valid RWKV-7");
  return std::make_unique<Rwkv7>(parts);
}

}  // namespace codenas
