// Sixteen floats in one AVX-512 register. Include only from *_avx512.cc. See vec16_scalar.h for what each operation
// means.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/math/exp_avx512.h"

namespace loci::simd_avx512 {

struct Vec16 {
  __m512 v;

  static Vec16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static Vec16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec16 load_half(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Vec16 load_field(const std::byte* words, int shift, uint32_t mask) {
    const __m512i word = _mm512_loadu_si512(words);
    const __m512i field =
        _mm512_and_si512(_mm512_srl_epi32(word, _mm_cvtsi32_si128(shift)), _mm512_set1_epi32(static_cast<int>(mask)));
    return {_mm512_cvtepi32_ps(field)};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_half(uint16_t* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
};

inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec16 fma(Vec16 a, Vec16 b, Vec16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec16 max(Vec16 a, Vec16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec16 exp(Vec16 a) { return {exp_avx512(a.v)}; }
inline Vec16 keep_lanes(Vec16 a, int first, int last, float other) {
  const uint32_t below_last = last >= 16 ? 0xffffu : (1u << (last < 0 ? 0 : last)) - 1u;
  const uint32_t below_first = first <= 0 ? 0u : (first >= 16 ? 0xffffu : (1u << first) - 1u);
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(below_last & ~below_first), _mm512_set1_ps(other), a.v)};
}
inline float sum(Vec16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
inline float largest(Vec16 a) { return _mm512_reduce_max_ps(a.v); }

inline constexpr int kTileRows = 6;
inline constexpr int kTileVectors = 4;

}  // namespace loci::simd_avx512
