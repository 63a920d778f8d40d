// The C interface: arguments are checked here, exceptions become error codes here.

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "codenas_native.h"

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
