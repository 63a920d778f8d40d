// Gated linear attention: normalised queries and keys, one decay per head and token, a normalised and gated output.
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

class LinearAttention final : public RecurrentMixer {
 public:
  explicit LinearAttention(const LayerParts& parts)
      : RecurrentMixer(parts.options.slots, size_t(parts.mixer.n_heads) * head_state(parts.mixer.head_width)),
        work_(parts.work),
        d_model_(parts.arch.d_model),
        heads_(parts.mixer.n_heads),
        width_(parts.mixer.head_width),
        decay_bias_(parts.vector("decay_bias", heads_)),
        norm_gain_(parts.vector("norm_gain", width_)),
        projection_(stack(parts.arena, {&parts.matrix("query", d_model_, d_model_), &parts.matrix("key", d_model_, d_model_),
                                        &parts.matrix("value", d_model_, d_model_), &parts.matrix("gate", d_model_, d_model_),
                                        &parts.matrix("decay", heads_, d_model_)})),
        output_(stack(parts.arena, {&parts.matrix("output", d_model_, d_model_)})) {}

  void forward(const Batch& batch, const float* x, float* residual) override {
    const int width = projection_->rows(), runs = int(batch.runs.size());
    float* projected = work_.floats(Scratch::PROJECTED, size_t(batch.tokens) * size_t(width));
    float* mixed = work_.floats(Scratch::MIXED, size_t(batch.tokens) * size_t(d_model_));
    multiply(work_, *projection_, x, d_model_, batch.tokens, {projected, width, width});
    work_.pool.run_ranges(runs * heads_, 1, [&](int begin, int end) {
      for (int i = begin; i < end; i++) {
        const Run& run = batch.runs[size_t(i / heads_)];
        for (int done = 0; done < run.count; done += AT_ONCE) {
          const int first = run.first + done, count = std::min(AT_ONCE, run.count - done), head = i % heads_;
          mix(run.slot, head, count, projected + size_t(first) * size_t(width), mixed + size_t(first) * size_t(d_model_) + head * width_);
        }
      }
    });
    multiply(work_, *output_, mixed, d_model_, batch.tokens, {residual, d_model_, d_model_, Finish::ADD});
  }

 private:
  static constexpr int AT_ONCE = 32;  // tokens of a head that stay in the nearest cache from their normalisation to their output

  static size_t head_state(int width) { return size_t(width) * size_t(scan_state_columns(width)); }

  // `count` tokens of one head, from their rows of projections to `mixed`.
  void mix(int slot, int head, int count, float* projected, float* mixed) {
    const ptrdiff_t stride = projection_->rows();
    float *query = projected + head * width_, *key = query + d_model_, *value = key + d_model_, *gate = value + d_model_;
    float log_decay[AT_ONCE], strength[AT_ONCE];
    for (int t = 0; t < count; t++) {
      normalise(query + t * stride, 1 / std::sqrt(float(width_)));
      normalise(key + t * stride, 1);
      log_decay[t] = log_sigmoid(projected[t * stride + 4 * d_model_ + head] + decay_bias_[size_t(head)]);
      strength[t] = 1;
    }
    scan({query, key, stride, value, stride, log_decay, strength, 0, mixed, d_model_, count}, width_, width_,
         state(slot) + size_t(head) * head_state(width_));
    for (int t = 0; t < count; t++) {
      float* row = mixed + t * d_model_;
      rms_norm(row, norm_gain_.data(), width_, row);
      multiply_by_silu(row, gate + t * stride, width_);
    }
  }

  void normalise(float* x, float scale) const {
    const float factor = scale / std::sqrt(sum_of_squares(x, width_) / float(width_) + EPSILON);
    for (int k = 0; k < width_; k++) x[k] *= factor;
  }

  static float log_sigmoid(float x) { return std::min(x, 0.0f) - std::log1p(std::exp(-std::abs(x))); }

  Workspace& work_;
  const int d_model_, heads_, width_;
  const std::vector<float> decay_bias_, norm_gain_;
  const std::unique_ptr<Matrix> projection_, output_;
};

}  // namespace

std::unique_ptr<Mixer> make_linear_attention(const LayerParts& parts) {
  const cn_mixer& mixer = parts.mixer;
  require(mixer.n_heads > 0 && mixer.head_width > 0 && int64_t(mixer.n_heads) * mixer.head_width == parts.arch.d_model,
          parts.prefix + " is no valid linear attention");
  return std::make_unique<LinearAttention>(parts);
}

}  // namespace codenas
