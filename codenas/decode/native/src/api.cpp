// The C interface: arguments are checked here, exceptions become error codes here.

#include <algorithm>
#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "codenas_native.h"
#include "errors.h"
#include "model.h"
#include "sampling.h"

struct cn_model {
  codenas::Model model;
};

namespace {

thread_local std::string last_error;

// An error code of what `body` throws: no exception may pass the C interface.
template <class Body>
int32_t guarded(const Body& body) {
  try {
    body();
    return CN_OK;
  } catch (const codenas::Invalid& error) {
    last_error = error.what();
    return CN_INVALID;
  } catch (const std::bad_alloc&) {
    last_error = "there is no memory";
    return CN_NO_MEMORY;
  } catch (const std::exception& error) {
    last_error = error.what();
    return CN_FAILED;
  }
}

}  // namespace

int32_t cn_abi_version(void) { return CN_ABI_VERSION; }

int32_t cn_supported(const char* target) {
  if (!std::strcmp(target, "portable")) return 1;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (!std::strcmp(target, "avx2")) return avx2;
  if (!std::strcmp(target, "avxvnni")) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
  }
  if (!std::strcmp(target, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
  return 0;
}

const char* cn_error(void) { return last_error.c_str(); }

int32_t cn_create(const cn_arch* arch, const cn_tensor* tensors, size_t n_tensors, const cn_options* options, cn_model** model) {
  return guarded([&] {
    codenas::require(arch && tensors && options && model, "an argument is missing");
    *model = nullptr;
    *model = new cn_model{codenas::Model(*arch, codenas::Tensors(tensors, n_tensors), *options)};
  });
}

void cn_destroy(cn_model* model) { delete model; }
size_t cn_weight_bytes(const cn_model* model) { return model->model.weight_bytes(); }

int32_t cn_forward(cn_model* model, size_t n, const int32_t* tokens, const int32_t* slots, const int32_t* positions, size_t m,
                   const int32_t* wanted, float* logits) {
  return guarded([&] { model->model.forward(n, tokens, slots, positions, m, wanted, logits); });
}

int32_t cn_length(const cn_model* model, int32_t slot) { return model->model.length(slot); }

int32_t cn_reset(cn_model* model, int32_t slot) {
  return guarded([&] { model->model.reset(slot); });
}

int32_t cn_copy(cn_model* model, int32_t source, int32_t target) {
  return guarded([&] { model->model.copy(source, target); });
}

int32_t cn_truncate(cn_model* model, int32_t slot, int32_t length) {
  return guarded([&] { model->model.truncate(slot, length); });
}

int32_t cn_truncatable(const cn_model* model) { return model->model.truncatable(); }

int32_t cn_mark(cn_model* model, int32_t slot) {
  return guarded([&] { model->model.mark(slot); });
}

int32_t cn_rewind(cn_model* model, int32_t slot) {
  return guarded([&] { model->model.rewind(slot); });
}

int32_t cn_saved_bytes(const cn_model* model, int32_t slot, int32_t start, int32_t stop, size_t* bytes) {
  return guarded([&] { *bytes = model->model.saved_bytes(slot, start, stop); });
}

int32_t cn_save(const cn_model* model, int32_t slot, int32_t start, int32_t stop, uint8_t* block) {
  return guarded([&] { model->model.save(slot, start, stop, block); });
}

int32_t cn_restore(cn_model* model, int32_t slot, int32_t start, int32_t stop, const uint8_t* block, size_t bytes) {
  return guarded([&] { model->model.restore(slot, start, stop, block, bytes); });
}

size_t cn_state_bytes(const cn_model* model, int32_t length) { return model->model.state_bytes(length); }

int32_t cn_sample(size_t n, const float* logits, double temperature, int32_t top_k, double top_p, double min_p, double drawn) {
  int32_t token = -1;
  const bool valid = n > 0 && n <= size_t(INT32_MAX) && logits && temperature > 0 && top_k >= 0 && top_p > 0 && drawn >= 0 && drawn < 1;
  if (valid) guarded([&] { token = codenas::sample(logits, int(n), {temperature, int(std::min(size_t(top_k), n)), top_p, min_p}, drawn); });
  return token;
}
