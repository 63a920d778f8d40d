// Vectors of one register, and the few instructions that a compiler does not find by itself.
//
// The compilers' own vector types (GCC and Clang, `vector_size`) give the arithmetic of every target from one source, ARM's included.
// What they cannot say is here, behind names: products of bytes, half precision, and sums over a register. Highway and xsimd were
// judged first: both would replace these 20 lines of intrinsics per target by their own names for them, neither saves the layouts and
// blockings around, xsimd has no dot product of bytes, and both would have to be there at build time, where pip may have no network.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace codenas {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef int8_t bytes __attribute__((vector_size(4 * LANES)));      // as wide as `vec`
typedef int8_t few_bytes __attribute__((vector_size(LANES)));      // one per lane
typedef uint16_t half;                                             // bits of a float16

template <class V, class T>
inline V load(const T* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline vec load(const float* from) { return load<vec>(from); }
inline void store(float* to, vec v) { std::memcpy(to, &v, sizeof v); }

inline vec broadcast(float x) { return x - vec{}; }
inline vec max(vec a, vec b) { return a > b ? a : b; }
inline vec min(vec a, vec b) { return a < b ? a : b; }
inline vec abs(vec a) { return max(a, -a); }

inline float sum(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float total = 0;
  for (int i = 0; i < LANES; i++) total += v[i];
  return total;
#endif
}

inline float largest(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#else
  float top = v[0];
  for (int i = 1; i < LANES; i++) top = top > v[i] ? top : v[i];
  return top;
#endif
}

inline int32_t sum(ivec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_epi32((__m512i)v);
#else
  int32_t total = 0;
  for (int i = 0; i < LANES; i++) total += v[i];
  return total;
#endif
}

// The nearest integers; halves to even. |x| is below 2^22.
inline ivec round_to_int(vec x) {
  const vec shift = broadcast(12582912.0f);  // 1.5 * 2^23: there a float has no fraction
  return (ivec)(x + shift) - (ivec)shift;
}

// The first `n` lanes of memory, zeros behind them.
inline vec load_first(const float* from, int n) {
#if defined(__AVX512F__)
  return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
#else
  vec v{};
  std::memcpy(&v, from, sizeof(float) * n);
  return v;
#endif
}

inline void store_first(float* to, vec v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  std::memcpy(to, &v, sizeof(float) * size_t(n));
#endif
}

inline float half_to_float(half h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  const uint32_t sign = uint32_t(h & 0x8000) << 16, rest = h & 0x7fff;
  if (rest >= 0x7c00) {  // infinity or not a number
    const uint32_t bits = sign | 0x7f800000 | (rest & 0x3ff) << 13;
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  const uint32_t bits = rest << 13;  // as if the exponent had the bias of a float: too small by 2^112
  float f;
  std::memcpy(&f, &bits, 4);
  f *= 5.192296858534828e33f;  // 2^112; subnormals become normal
  uint32_t scaled;
  std::memcpy(&scaled, &f, 4);
  scaled |= sign;
  std::memcpy(&f, &scaled, 4);
  return f;
#endif
}

inline half float_to_half(float f) {
#if defined(__F16C__)
  return half(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT));
#else
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const half sign = half(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits >= 0x7f800000) return half(sign | 0x7c00 | (bits > 0x7f800000 ? 0x200 : 0));
  if (bits >= 0x477ff000) return half(sign | 0x7c00);  // from 65520 on
  if (bits < 0x38800000) {                             // subnormal: the addition rounds to multiples of 2^-24
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    magnitude += 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &magnitude, 4);
    return half(sign | (rounded - 0x3f000000));
  }
  const uint32_t odd = bits >> 13 & 1;
  return half(sign | ((bits - 0x38000000 + 0xfff + odd) >> 13));
#endif
}

inline vec load_half(const half* from) {
#if defined(__AVX512F__)
  return (vec)_mm512_cvtph_ps(load<__m256i>(from));
#elif defined(__F16C__)
  return (vec)_mm256_cvtph_ps(load<__m128i>(from));
#else
  vec v;
  for (int i = 0; i < LANES; i++) v[i] = half_to_float(from[i]);
  return v;
#endif
}

inline void store_half(half* to, vec v) {
#if defined(__AVX512F__)
  const __m256i h = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
  std::memcpy(to, &h, sizeof h);
#elif defined(__F16C__)
  const __m128i h = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
  std::memcpy(to, &h, sizeof h);
#else
  for (int i = 0; i < LANES; i++) to[i] = float_to_half(v[i]);
#endif
}

// Either element of a cache or matrix, by overload.
inline vec load_float(const float* from) { return load(from); }
inline vec load_float(const half* from) { return load_half(from); }

// Products of bytes: each lane of the result adds the products of its four bytes. VNNI multiplies unsigned by signed bytes, so there
// signed weights are stored with `WEIGHT_BIAS` added, and who multiplies takes the bias times the sum of the inputs away again.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr int WEIGHT_BIAS = 128;
#else
constexpr int WEIGHT_BIAS = 0;
#endif

// Products of weights of 0 to 15. AVX2 sums pairs in 16 bits, which hold NIBBLE_DOTS of them; `widen` makes a lane's sum of theirs.
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
typedef int16_t nibble_sum __attribute__((vector_size(4 * LANES)));
constexpr int NIBBLE_DOTS = 8;  // * 2 * 15 * 127 < 2^15
inline nibble_sum dot_nibbles(nibble_sum total, bytes weights, bytes inputs) {
  return total + (nibble_sum)_mm256_maddubs_epi16((__m256i)weights, (__m256i)inputs);
}
inline ivec widen(nibble_sum total) { return (ivec)_mm256_madd_epi16((__m256i)total, _mm256_set1_epi16(1)); }
#else
typedef ivec nibble_sum;
constexpr int NIBBLE_DOTS = 1 << 20;
inline nibble_sum dot_nibbles(nibble_sum total, bytes weights, bytes inputs) {
#if defined(__AVX512VNNI__)
  return (ivec)_mm512_dpbusd_epi32((__m512i)total, (__m512i)weights, (__m512i)inputs);
#elif defined(__AVXVNNI__)
  return (ivec)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)weights, (__m256i)inputs);
#else
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < 4; j++) total[i] += weights[4 * i + j] * inputs[4 * i + j];
  return total;
#endif
}
inline ivec widen(nibble_sum total) { return total; }
#endif

// Weights of -127 to 127 plus `WEIGHT_BIAS`; inputs of -127 to 127.
inline ivec dot(ivec total, bytes weights, bytes inputs) {
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
  // |input| * (weight with the input's sign): a pair is at most 2 * 127 * 127, which 16 bits hold.
  const __m256i magnitude = _mm256_abs_epi8((__m256i)inputs), turned = _mm256_sign_epi8((__m256i)weights, (__m256i)inputs);
  return total + (ivec)_mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, turned), _mm256_set1_epi16(1));
#else
  return dot_nibbles(total, weights, inputs);
#endif
}

// Four bytes, repeated.
inline bytes repeat4(const int8_t* from) { return (bytes)(load<int32_t>(from) - ivec{}); }

}  // namespace codenas
