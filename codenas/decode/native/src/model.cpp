#include "model.h"

#include <algorithm>
#include <cmath>

#include "errors.h"
#include "norms.h"

namespace codenas {
namespace {

constexpr int TOKENS_AT_ONCE = 8;  // that one thread embeds or normalises

Finish finish_of(int activation) {
  switch (activation) {
    case CN_GELU: return Finish::GELU;
    case CN_SILU: return Finish::SILU;
    case CN_RELU2: return Finish::RELU2;
    case CN_GEGLU: return Finish::GEGLU;
    default: return Finish::SWIGLU;
  }
}

bool gated(int activation) { return activation == CN_GEGLU || activation == CN_SWIGLU; }

const cn_arch& checked(const cn_arch& arch) {
  constexpr int MOST = 1 << 20;
  const auto in = [](int value, int least, int most) { return value >= least && value <= most; };
  require(in(arch.d_model, 1, MOST) && in(arch.n_layers, 1, MOST) && in(arch.hidden, 1, MOST) && in(arch.context_len, 1, 1 << 24) &&
              in(arch.vocab_size, 1, 1 << 24) && in(arch.embedding_rank, 0, MOST) && arch.mixers,
          "a size of the architecture is out of range");
  require(in(arch.activation, CN_GELU, CN_SWIGLU) && in(arch.norm, CN_LAYERNORM, CN_GROUPNORM) && in(arch.position, CN_ROPE, CN_NO_POSITION),
          "the architecture has an unknown activation, norm or position");
  require(arch.norm != CN_GROUPNORM || arch.d_model % NORM_GROUPS == 0, "d_model does not divide into the groups of groupnorm");
  return arch;
}

const cn_options& checked(const cn_options& options) {
  const auto in = [](int value, int most) { return value >= 1 && value <= most; };
  require(in(options.slots, 1 << 16) && in(options.max_tokens, 1 << 16) && in(options.threads, 256),
          "slots, max_tokens or threads is out of range");
  return options;
}

size_t weights_bound(const cn_arch& arch, const Tensors& tensors) {
  size_t total = 0;
  for (const cn_tensor* tensor : tensors.all()) total += packed_bound(*tensor);
  // The matrix that widens a factorised embedding is there a second time where it narrows too, in float32.
  const cn_tensor narrow{"narrow", nullptr, nullptr, arch.embedding_rank, arch.d_model, CN_F32};
  return total + (arch.embedding_rank && arch.tie_embeddings ? packed_bound(narrow) : 0);
}

std::unique_ptr<Mixer> make_mixer(const LayerParts& parts) {
  switch (parts.mixer.kind) {
    case CN_ATTENTION: return make_attention(parts);
    case CN_LINEAR_ATTENTION: return make_linear_attention(parts);
    case CN_MAMBA2: return make_mamba2(parts);
    case CN_RWKV7: return make_rwkv7(parts);
    default: throw Invalid(parts.prefix + " is of an unknown kind");
  }
}

}  // namespace

Model::Model(const cn_arch& arch, const Tensors& tensors, const cn_options& options)
    : arch_(checked(arch)),
      options_(checked(options)),
      embedding_width_(arch.embedding_rank ? arch.embedding_rank : arch.d_model),
      arena_(weights_bound(arch, tensors)),
      work_(options.threads),
      gain_(tensors.vector("norm.weight", arch.d_model)),
      lengths_(size_t(options.slots), 0),
      marks_(size_t(options.slots), -1) {
  const int d_model = arch.d_model, width = embedding_width_;
  for (int number = 0; number < arch.n_layers; number++) add_layer(tensors, number);
  const cn_tensor* widen = arch.embedding_rank ? &tensors.matrix("widen.weight", d_model, width) : nullptr;
  if (widen && arch.tie_embeddings) narrow_ = transpose(arena_, *widen, std::sqrt(float(width) / float(d_model)));
  if (widen && !arch.tie_embeddings) narrow_ = stack(arena_, {&tensors.matrix("narrow.weight", width, d_model)});
  if (!arch.tie_embeddings) own_head_ = stack(arena_, {&tensors.matrix("head.weight", arch.vocab_size, width)});
  embedding_ = stack(arena_, {&tensors.matrix("embedding.weight", arch.vocab_size, width)});
  if (widen) widen_ = stack(arena_, {widen});
  if (arch.position == CN_ABSOLUTE) positions_ = stack(arena_, {&tensors.matrix("positions.weight", arch.context_len, d_model)});
  arena_.finish();
  arch_.mixers = nullptr;  // the caller's
}

void Model::add_layer(const Tensors& tensors, int number) {
  const std::string block = "blocks." + std::to_string(number) + ".", feedforward = block + "feedforward.";
  const cn_mixer& mixer = arch_.mixers[number];
  std::shared_ptr<const RotaryTable> rotary;
  if (mixer.kind == CN_ATTENTION && arch_.position == CN_ROPE) {
    require(mixer.head_width > 0 && mixer.head_width % 2 == 0, block + "mixer: rope needs an even head width");
    for (const auto& table : rotary_)
      if (table->half_width == mixer.head_width / 2) rotary = table;
    if (!rotary) rotary_.push_back(rotary = std::make_shared<RotaryTable>(arch_.context_len, mixer.head_width));
  }
  Layer layer;
  layer.mixer_gain = tensors.vector(block + "mixer_norm.weight", arch_.d_model);
  layer.feedforward_gain = tensors.vector(block + "feedforward_norm.weight", arch_.d_model);
  layer.mixer = make_mixer({arch_, mixer, tensors, block + "mixer.", options_, arena_, work_, rotary});
  const cn_tensor& up = tensors.matrix(feedforward + "up.weight", arch_.hidden, arch_.d_model);
  layer.up = gated(arch_.activation) ? interleave(arena_, tensors.matrix(feedforward + "gate.weight", arch_.hidden, arch_.d_model), up)
                                     : stack(arena_, {&up});
  layer.down = stack(arena_, {&tensors.matrix(feedforward + "down.weight", arch_.d_model, arch_.hidden)});
  layers_.push_back(std::move(layer));
}

void Model::forward(size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions, size_t m, const int32_t* wanted,
                    float* logits) {
  const Batch batch = checked_batch(n, tokens, slots, positions);
  check_wanted(n, m, wanted);
  float* x = work_.floats(Scratch::RESIDUAL, n * size_t(arch_.d_model));
  embed(batch.tokens, tokens, positions, x);
  for (const Layer& layer : layers_) {
    layer.mixer->forward(batch, normalise_all(x, layer.mixer_gain, batch.tokens), x);
    feed_forward(layer, batch.tokens, x);
  }
  for (const Run& run : batch.runs) lengths_[size_t(run.slot)] += run.count;
  if (m > 0) project_out(x, int(m), wanted, logits);
}

void Model::embed(int n, const int32_t* tokens, const int32_t* positions, float* x) {
  const int d_model = arch_.d_model, width = embedding_width_;
  const float scale = std::sqrt(float(width));
  float* embedded = widen_ ? work_.floats(Scratch::PROJECTED, size_t(n) * size_t(width)) : x;
  work_.pool.run_ranges(n, TOKENS_AT_ONCE, [&](int begin, int end) {
    for (int i = begin; i < end; i++) {
      float* row = embedded + size_t(i) * size_t(width);
      embedding_->get_row(tokens[i], row);
      for (int k = 0; k < width; k++) row[k] *= scale;
    }
  });
  if (widen_) multiply(work_, *widen_, embedded, width, n, {x, d_model, d_model});
  if (!positions_) return;
  float* learned = work_.floats(Scratch::NORMALISED, size_t(d_model));
  for (int i = 0; i < n; i++) {
    positions_->get_row(positions[i], learned);
    for (int k = 0; k < d_model; k++) x[size_t(i) * size_t(d_model) + size_t(k)] += learned[k];
  }
}

float* Model::normalise_all(const float* x, const std::vector<float>& gain, int n) {
  const size_t width = size_t(arch_.d_model);
  float* normal = work_.floats(Scratch::NORMALISED, size_t(n) * width);
  work_.pool.run_ranges(n, TOKENS_AT_ONCE, [&](int begin, int end) {
    for (int i = begin; i < end; i++) normalise(arch_.norm, x + size_t(i) * width, gain.data(), arch_.d_model, normal + size_t(i) * width);
  });
  return normal;
}

void Model::feed_forward(const Layer& layer, int n, float* x) {
  const int d_model = arch_.d_model, hidden = arch_.hidden;
  const float* normal = normalise_all(x, layer.feedforward_gain, n);
  float* inner = work_.floats(Scratch::PROJECTED, size_t(n) * size_t(hidden));
  multiply(work_, *layer.up, normal, d_model, n, {inner, hidden, hidden, finish_of(arch_.activation)});
  multiply(work_, *layer.down, inner, hidden, n, {x, d_model, d_model, Finish::ADD});
}

void Model::project_out(const float* x, int m, const int32_t* wanted, float* logits) {
  const int d_model = arch_.d_model, width = embedding_width_;
  const size_t row = size_t(d_model);
  float* last = work_.floats(Scratch::MIXED, size_t(m) * row);
  for (int i = 0; i < m; i++) std::memcpy(last + size_t(i) * row, x + size_t(wanted[i]) * row, row * sizeof(float));
  const float* inputs = normalise_all(last, gain_, m);
  if (narrow_) {
    float* narrowed = work_.floats(Scratch::PROJECTED, size_t(m) * size_t(width));
    multiply(work_, *narrow_, inputs, d_model, m, {narrowed, width, width});
    inputs = narrowed;
  }
  multiply(work_, own_head_ ? *own_head_ : *embedding_, inputs, width, m, {logits, arch_.vocab_size, arch_.vocab_size});
}

}  // namespace codenas
