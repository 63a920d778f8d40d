/* The C interface of the native decoding step.
 *
 * One call of `cn_forward` is one forward pass of some tokens, each of a sequence in a slot of the model and at a position. A function
 * that can fail returns 0 or an error code; `cn_error` then has a line that says why. A model may be used by one thread at a time,
 * different models by different threads.
 */
#ifndef CODENAS_NATIVE_H
#define CODENAS_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CN_ABI_VERSION 2
#define CN_API __attribute__((visibility("default")))

typedef struct cn_model cn_model;

enum { CN_OK = 0, CN_INVALID = 1, CN_NO_MEMORY = 2, CN_FAILED = 3 };

enum cn_dtype { CN_F32, CN_F16, CN_I8, CN_U4 }; /* U4: pairs of 4-bit values + 8, the first in the low half of a byte */
enum cn_mixer_kind { CN_ATTENTION, CN_LINEAR_ATTENTION, CN_MAMBA2, CN_RWKV7 };
enum cn_activation { CN_GELU, CN_SILU, CN_RELU2, CN_GEGLU, CN_SWIGLU };
enum cn_norm { CN_LAYERNORM, CN_RMSNORM, CN_GROUPNORM };
enum cn_position { CN_ROPE, CN_ALIBI, CN_ABSOLUTE, CN_NO_POSITION };

/* The mixer of a layer; what its kind has no use for is 0. */
typedef struct {
  int32_t kind;
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t head_width; /* of values and keys; of Mamba-2 of values only */
  int32_t window;     /* positions that a token sees, itself included; 0: all */
  int32_t qk_norm;
  int32_t state_width;
  int32_t conv_width;
  int32_t rank;
  int32_t gate_rank;
} cn_mixer;

typedef struct {
  int32_t d_model;
  int32_t n_layers;
  int32_t hidden; /* channels of the feed-forward network */
  int32_t activation;
  int32_t norm;
  int32_t position;
  int32_t context_len;
  int32_t vocab_size;
  int32_t embedding_rank; /* 0: the embedding is not factorised */
  int32_t tie_embeddings;
  const cn_mixer* mixers; /* [n_layers] */
} cn_arch;

/* A stored tensor by its name in the checkpoint; what it points to is not needed after `cn_create`. */
typedef struct {
  const char* name;
  const void* values;
  const uint16_t* scales; /* float16: per row of I8, per row and group of 64 columns of U4; else null */
  int64_t rows;
  int64_t columns; /* 1 for a vector */
  int32_t dtype;
} cn_tensor;

typedef struct {
  int32_t slots;      /* most sequences at a time */
  int32_t max_tokens; /* most tokens of one forward pass */
  int32_t threads;
} cn_options;

/* Of these three every library has its own: the version of this header, and whether this processor can run the library `target`. */
CN_API int32_t cn_abi_version(void);
CN_API int32_t cn_supported(const char* target);
CN_API const char* cn_error(void); /* of this thread's last failed call */

CN_API int32_t cn_create(const cn_arch* arch, const cn_tensor* tensors, size_t n_tensors, const cn_options* options, cn_model** model);
CN_API void cn_destroy(cn_model* model);
CN_API size_t cn_weight_bytes(const cn_model* model); /* of the packed weights */

/* Append `n` tokens to their sequences. `wanted` are `m` ascending indices into them; `logits` is [m, vocab_size]. */
CN_API int32_t cn_forward(cn_model* model, size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions, size_t m,
                          const int32_t* wanted, float* logits);

CN_API int32_t cn_length(const cn_model* model, int32_t slot); /* -1: there is no such slot */
CN_API int32_t cn_reset(cn_model* model, int32_t slot);
CN_API int32_t cn_copy(cn_model* model, int32_t source, int32_t target);

/* A model is truncatable where every layer keeps all positions. Any model goes back to its mark, by at most `max_tokens` tokens. */
CN_API int32_t cn_truncatable(const cn_model* model);
CN_API int32_t cn_truncate(cn_model* model, int32_t slot, int32_t length);
CN_API int32_t cn_mark(cn_model* model, int32_t slot);
CN_API int32_t cn_rewind(cn_model* model, int32_t slot);

/* What a slot holds of the positions from `start` to `stop`, as bytes that only a model of the same architecture and storage can
 * restore; `stop` is the end of the sequence unless the model is truncatable. Consecutive blocks from position 0 on are restored one
 * after the other. */
CN_API int32_t cn_saved_bytes(const cn_model* model, int32_t slot, int32_t start, int32_t stop, size_t* bytes);
CN_API int32_t cn_save(const cn_model* model, int32_t slot, int32_t start, int32_t stop, uint8_t* block);
CN_API int32_t cn_restore(cn_model* model, int32_t slot, int32_t start, int32_t stop, const uint8_t* block, size_t bytes);
CN_API size_t cn_state_bytes(const cn_model* model, int32_t length);

/* The token at `drawn`, in [0, 1), of the distribution of `n` logits; -1 if they have no finite maximum. `top_k` 0: all tokens. */
CN_API int32_t cn_sample(size_t n, const float* logits, double temperature, int32_t top_k, double top_p, double min_p, double drawn);

#ifdef __cplusplus
}
#endif
#endif
