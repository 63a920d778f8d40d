// The attention layer: projections, normalised and rotated queries and keys, the cache, and the output.
#include <algorithm>
#include <cmath>

#include "attend.h"
#include "errors.h"
#include "layer.h"
#include "multiply.h"
#include "norms.h"

namespace codenas {
namespace {

constexpr int FEW_TOKENS = 8;       // of a sequence: written and answered in one go, head by head
constexpr int TOKENS_AT_ONCE = 16;  // of a longer one, that one thread answers

template <class T>
class Attention final : public Mixer {
 public:
  explicit Attention(const LayerParts& parts)
      : work_(parts.work),
        d_model_(parts.arch.d_model),
        heads_(parts.mixer.n_heads),
        key_heads_(parts.mixer.n_kv_heads),
        group_(heads_ / key_heads_),
        width_(parts.mixer.head_width),
        window_(parts.mixer.window > 0 && parts.mixer.window < parts.arch.context_len ? parts.mixer.window : 0),
        rotary_(parts.rotary),
        slopes_(parts.arch.position == CN_ALIBI ? alibi_slopes(heads_) : std::vector<float>()),
        query_gain_(parts.mixer.qk_norm ? parts.vector("query_gain", width_) : std::vector<float>()),
        key_gain_(parts.mixer.qk_norm ? parts.vector("key_gain", width_) : std::vector<float>()),
        projection_(stack(parts.arena, {&parts.matrix("query", d_model_, d_model_), &parts.matrix("key", key_heads_ * width_, d_model_),
                                        &parts.matrix("value", key_heads_ * width_, d_model_)})),
        output_(stack(parts.arena, {&parts.matrix("output", d_model_, d_model_)})),
        // A ring keeps what a forward pass overwrites of its window: the pass needs it, and so does who takes the pass back.
        cache_(parts.options.slots, key_heads_, width_,
               window_ ? std::min(parts.arch.context_len, window_ + parts.options.max_tokens) : parts.arch.context_len) {}

  void forward(const Batch& batch, const float* x, float* residual) override {
    const int projected_width = projection_->rows();
    float* projected = work_.floats(Scratch::PROJECTED, size_t(batch.tokens) * size_t(projected_width));
    float* mixed = work_.floats(Scratch::MIXED, size_t(batch.tokens) * size_t(d_model_));
    multiply(work_, *projection_, x, d_model_, batch.tokens, {projected, projected_width, projected_width});
    mix(batch.runs, projected, mixed);
    multiply(work_, *output_, mixed, d_model_, batch.tokens, {residual, d_model_, d_model_, Finish::ADD});
  }

  void reset(int slot) override { cache_.reset(slot); }
  void copy(int source, int target, int length) override { cache_.copy(source, target, length); }
  bool truncatable() const override { return window_ == 0; }
  void mark(int) override {}  // positions behind the mark are forgotten with the length of the sequence
  void rewind(int) override {}

  size_t saved_bytes(int slot, int start, int stop) const override {
    return sizeof(int64_t) + size_t(stop - first_saved(slot, start)) * cache_.position_bytes();
  }

  void save(int slot, int start, int stop, uint8_t* to) const override {
    const int64_t first = first_saved(slot, start);
    std::memcpy(to, &first, sizeof first);
    to += sizeof first;
    for (int position = int(first); position < stop; position++, to += cache_.position_bytes())
      cache_.save(slot, position, reinterpret_cast<T*>(to));
  }

  const uint8_t* restore(int slot, int start, int stop, const uint8_t* from, const uint8_t* end) override {
    int64_t first = -1;
    if (end - from >= ptrdiff_t(sizeof first)) std::memcpy(&first, from, sizeof first);
    require(first >= start && first <= stop && size_t(end - from) >= sizeof first + size_t(stop - first) * cache_.position_bytes(),
            "the block is not one that this model saved");
    from += sizeof first;
    cache_.grow(slot, stop);
    if (first > start) cache_.set_oldest(slot, std::max(cache_.oldest(slot), int(first)));
    for (int position = int(first); position < stop; position++, from += cache_.position_bytes())
      cache_.restore(slot, position, reinterpret_cast<const T*>(from));
    require(first_needed(stop) >= cache_.oldest(slot), "the block lacks positions that its window needs");
    return from;
  }

  size_t state_bytes(int length) const override { return size_t(std::min(length, cache_.capacity())) * cache_.position_bytes(); }

 private:
  // The first position that the next token of a sequence of `length` tokens sees.
  int first_needed(int length) const { return window_ ? std::max(0, length - window_ + 1) : 0; }
  int first_saved(int slot, int start) const { return std::max(start, cache_.oldest(slot)); }

  void mix(const std::vector<Run>& pieces, float* projected, float* mixed) {
    int longest = 0;
    for (const Run& piece : pieces) {
      cache_.grow(piece.slot, piece.position + piece.count);
      longest = std::max(longest, piece.count);
    }
    const int n = int(pieces.size());
    if (longest <= FEW_TOKENS) {
      work_.pool.run(n * key_heads_, [&](int i) {
        const Run& piece = pieces[size_t(i / key_heads_)];
        write(piece, 0, piece.count, i % key_heads_, projected);
        answer(piece, 0, piece.count, i % key_heads_, projected, mixed);
      });
      return;
    }
    const int parts = (longest + TOKENS_AT_ONCE - 1) / TOKENS_AT_ONCE;
    const auto each = [&](const auto& body) {
      work_.pool.run(n * parts * key_heads_, [&](int i) {
        const Run& piece = pieces[size_t(i / key_heads_ / parts)];
        const int first = (parts - 1 - i / key_heads_ % parts) * TOKENS_AT_ONCE;  // the last ones, which see most, come first
        if (first < piece.count) body(piece, first, std::min(TOKENS_AT_ONCE, piece.count - first), i % key_heads_);
      });
    };
    each([&](const Run& piece, int first, int count, int head) { write(piece, first, count, head, projected); });
    each([&](const Run& piece, int first, int count, int head) { answer(piece, first, count, head, projected, mixed); });
  }

  // Normalise, rotate and scale queries; normalise and rotate keys, and keep them with their values: of one key head.
  void write(const Run& piece, int first, int count, int key_head, float* projected) {
    const float scale = 1 / std::sqrt(float(width_));
    for (int token = first; token < first + count; token++) {
      float* row = projected + size_t(piece.first + token) * size_t(projection_->rows());
      const int position = piece.position + token;
      for (int head = key_head * group_; head < (key_head + 1) * group_; head++) {
        float* query = row + head * width_;
        if (!query_gain_.empty()) rms_norm(query, query_gain_.data(), width_, query);
        if (rotary_) rotary_->rotate(query, position);
        for (int k = 0; k < width_; k++) query[k] *= scale;
      }
      float *key = row + d_model_ + key_head * width_, *value = key + key_heads_ * width_;
      if (!key_gain_.empty()) rms_norm(key, key_gain_.data(), width_, key);
      if (rotary_) rotary_->rotate(key, position);
      cache_.write(piece.slot, key_head, position, key, value);
    }
  }

  void answer(const Run& piece, int first, int count, int key_head, const float* projected, float* mixed) const {
    const int head = key_head * group_, stride = projection_->rows(), token = piece.first + first;
    attend(cache_, {piece.slot, key_head, piece.position + first, count, group_,
                    projected + size_t(token) * size_t(stride) + head * width_, stride,
                    mixed + size_t(token) * size_t(d_model_) + head * width_, d_model_, width_, window_,
                    slopes_.empty() ? nullptr : slopes_.data() + head});
  }

  Workspace& work_;
  const int d_model_, heads_, key_heads_, group_, width_, window_;
  const std::shared_ptr<const RotaryTable> rotary_;
  const std::vector<float> slopes_, query_gain_, key_gain_;
  const std::unique_ptr<Matrix> projection_, output_;
  KvCache<T> cache_;
};

}  // namespace

std::unique_ptr<Mixer> make_attention(const LayerParts& parts) {
  const cn_mixer& mixer = parts.mixer;
  require(mixer.n_heads > 0 && mixer.n_kv_heads > 0 && mixer.n_heads % mixer.n_kv_heads == 0 && mixer.head_width > 0 &&
              int64_t(mixer.n_heads) * mixer.head_width == parts.arch.d_model && mixer.window >= 0,
          parts.prefix + " is no valid attention");
  // A cache in half precision rounds what a model in half precision would have rounded too; float32 is there for exact comparisons.
  if (parts.matrix("query", parts.arch.d_model, parts.arch.d_model).dtype == CN_F32) return std::make_unique<Attention<float>>(parts);
  return std::make_unique<Attention<half>>(parts);
}

}  // namespace codenas
