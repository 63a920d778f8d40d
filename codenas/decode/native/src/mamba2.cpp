// Mamba-2: a short causal convolution, a recurrence whose heads share keys and queries, a gated and normalised output.
#include <algorithm>
#include <cmath>

#include "elementwise.h"
#include "errors.h"
#include "multiply.h"
#include "norms.h"
#include "recurrent.h"
#include "scan.h"

namespace codenas {
namespace {

constexpr int MOST_TAPS = 8;

// Channels: values of all heads, then keys, then queries. In projections gates and steps follow them.
// State: the matrices of all heads, then the last inputs of the convolution, [taps - 1, channels].
class Mamba2 final : public RecurrentMixer {
 public:
  Mamba2(const LayerParts& parts, int inner)
      : RecurrentMixer(parts.options.slots, size_t(inner / parts.mixer.head_width) * head_state(parts.mixer) +
                                                size_t(parts.mixer.conv_width - 1) * size_t(inner + 2 * parts.mixer.state_width)),
        work_(parts.work),
        d_model_(parts.arch.d_model),
        inner_(inner),
        heads_(inner / parts.mixer.head_width),
        width_(parts.mixer.head_width),
        state_width_(parts.mixer.state_width),
        channels_(inner + 2 * state_width_),
        taps_(parts.mixer.conv_width),
        head_state_(head_state(parts.mixer)),
        weights_(by_tap(parts.vector("taps", int64_t(channels_) * taps_), taps_)),
        bias_(parts.vector("taps_bias", channels_)),
        step_bias_(parts.vector("step_bias", heads_)),
        rate_(parts.vector("log_rate", heads_)),
        skip_(parts.vector("skip", heads_)),
        norm_gain_(parts.vector("norm_gain", inner)),
        projection_(stack(parts.arena, {&parts.matrix("value", inner, d_model_), &parts.matrix("key", state_width_, d_model_),
                                        &parts.matrix("query", state_width_, d_model_), &parts.matrix("gate", inner, d_model_),
                                        &parts.matrix("step", heads_, d_model_)})),
        output_(stack(parts.arena, {&parts.matrix("output", d_model_, inner)})) {
    for (float& rate : rate_) rate = std::exp(rate);
  }

  void forward(const Batch& batch, const float* x, float* residual) override {
    const int tokens = batch.tokens, stride = projection_->rows();
    float* projected = work_.floats(Scratch::PROJECTED, size_t(tokens) * size_t(stride));
    float* convolved = work_.floats(Scratch::CONVOLVED, size_t(tokens) * size_t(channels_));
    float* mixed = work_.floats(Scratch::MIXED, size_t(tokens) * size_t(inner_));
    multiply(work_, *projection_, x, d_model_, tokens, {projected, stride, stride});
    for (const Run& run : batch.runs) convolve(run, projected, convolved);
    work_.pool.run_ranges(int(batch.runs.size()) * heads_, 1, [&](int begin, int end) {
      for (int i = begin; i < end; i++) mix(batch.runs[size_t(i / heads_)], i % heads_, projected, convolved, mixed);
    });
    work_.pool.run_ranges(tokens, TOKENS_AT_ONCE, [&](int begin, int end) {
      for (int token = begin; token < end; token++) {
        float* row = mixed + size_t(token) * size_t(inner_);
        multiply_by_silu(row, projected + size_t(token) * size_t(stride) + channels_, inner_);
        rms_norm(row, norm_gain_.data(), inner_, row);
      }
    });
    multiply(work_, *output_, mixed, inner_, tokens, {residual, d_model_, d_model_, Finish::ADD});
  }

 private:
  static constexpr int AT_ONCE = 32;        // tokens of a head that are scanned at once
  static constexpr int TOKENS_AT_ONCE = 8;  // that one thread convolves or normalises

  static size_t head_state(const cn_mixer& mixer) { return size_t(mixer.state_width) * size_t(scan_state_columns(mixer.head_width)); }

  // [channels, taps] to [taps, channels].
  static std::vector<float> by_tap(const std::vector<float>& weights, int taps) {
    const size_t channels = weights.size() / size_t(taps);
    std::vector<float> turned(weights.size());
    for (size_t i = 0; i < weights.size(); i++) turned[i % size_t(taps) * channels + i / size_t(taps)] = weights[i];
    return turned;
  }

  float* recent(int slot) const { return state(slot) + size_t(heads_) * head_state_; }

  // The channels of a run's tokens, and the newest inputs as the state of the next ones.
  void convolve(const Run& run, const float* projected, float* convolved) {
    const int past = taps_ - 1;
    const size_t stride = size_t(projection_->rows());
    float* before = recent(run.slot);
    const auto input = [&](int token) {  // a negative one is of the state
      return token < 0 ? before + size_t(past + token) * size_t(channels_) : projected + size_t(run.first + token) * stride;
    };
    work_.pool.run_ranges(run.count, TOKENS_AT_ONCE, [&](int begin, int end) {
      for (int token = begin; token < end; token++) {
        const float* inputs[MOST_TAPS];
        for (int tap = 0; tap < taps_; tap++) inputs[tap] = input(token - past + tap);
        convolve_token(inputs, convolved + size_t(run.first + token) * size_t(channels_));
      }
    });
    for (int i = 0; i < past; i++)  // in this order an input that stays is read before its place is written
      std::memmove(before + size_t(i) * size_t(channels_), input(run.count - past + i), sizeof(float) * size_t(channels_));
  }

  void convolve_token(const float* const* inputs, float* to) const {
    each_register(channels_, [&](int k, auto lanes) {
      vec total = load_first(bias_.data() + k, lanes);
      for (int tap = 0; tap < taps_; tap++)
        total += load_first(inputs[tap] + k, lanes) * load_first(weights_.data() + size_t(tap) * size_t(channels_) + k, lanes);
      store_first(to + k, silu(total), lanes);
    });
  }

  void mix(const Run& run, int head, const float* projected, const float* convolved, float* mixed) {
    const ptrdiff_t stride = projection_->rows();
    for (int done = 0; done < run.count; done += AT_ONCE) {
      const int first = run.first + done, count = std::min(AT_ONCE, run.count - done);
      const float *steps = projected + first * stride + channels_ + inner_ + head, *row = convolved + ptrdiff_t(first) * channels_;
      float log_decay[AT_ONCE], step[AT_ONCE];
      for (int t = 0; t < count; t++) {
        step[t] = softplus(steps[t * stride] + step_bias_[size_t(head)]);
        log_decay[t] = -step[t] * rate_[size_t(head)];
      }
      scan({row + inner_ + state_width_, row + inner_, channels_, row + head * width_, channels_, log_decay, step, skip_[size_t(head)],
            mixed + ptrdiff_t(first) * inner_ + head * width_, inner_, count},
           state_width_, width_, state(run.slot) + size_t(head) * head_state_);
    }
  }

  static float softplus(float x) { return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x))); }

  Workspace& work_;
  const int d_model_, inner_, heads_, width_, state_width_, channels_, taps_;
  const size_t head_state_;
  const std::vector<float> weights_, bias_, step_bias_;
  std::vector<float> rate_;
  const std::vector<float> skip_, norm_gain_;
  const std::unique_ptr<Matrix> projection_, output_;
};

}  // namespace

std::unique_ptr<Mixer> make_mamba2(const LayerParts& parts) {
  const cn_mixer& mixer = parts.mixer;
  constexpr int MOST = 1 << 20;
  require(mixer.n_heads > 0 && mixer.head_width > 0 && int64_t(mixer.n_heads) * mixer.head_width <= MOST && mixer.state_width > 0 &&
              mixer.state_width <= MOST && mixer.conv_width >= 2 && mixer.conv_width <= MOST_TAPS,
          parts.prefix + " is no valid Mamba-2");
  return std::make_unique<Mamba2>(parts, mixer.n_heads * mixer.head_width);
}

}  // namespace codenas
