// What the AVX2 kernels of attention on integers share: vectors of eight slots. Include only from *_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/math/exp_constants.h"

namespace loci::simd_avx2 {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
inline constexpr int kLanes = 8;  // slots, or dimensions of a value, in a vector
inline constexpr int kSlotVectors = kPageSlots / kLanes;

static inline __m256 load_halves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
static inline __m256i load_words(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

static inline float largest_of(__m256 x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
static inline float sum_of(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// The larger magnitudes. Compared as integers, which order them alike, with NaN above infinity.
static inline __m256 larger(__m256 largest, __m256 x) {
  const __m256i bits = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(INT32_MAX));
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(largest), bits));
}
static inline __m256 below_infinity(__m256 x) {
  return _mm256_cmp_ps(x, _mm256_set1_ps(std::numeric_limits<float>::infinity()), _CMP_LT_OQ);
}
// The largest magnitude of `count` numbers, a multiple of 8; infinity if one of them is none.
static inline float largest_magnitude(const float* x, size_t count) {
  __m256 largest = _mm256_setzero_ps();
  for (size_t i = 0; i < count; i += kLanes) largest = larger(largest, _mm256_loadu_ps(x + i));
  const bool finite = _mm256_movemask_ps(below_infinity(largest)) == 255;
  return finite ? largest_of(largest) : std::numeric_limits<float>::infinity();
}

// 2^y for y <= 0, relative error below 3e-6: a polynomial of degree 4 on the fraction. 0 below 2^-125.
static inline __m256 exp2_not_above_one(__m256 y) {
  const __m256 round = _mm256_set1_ps(exp_constants::kRound);
  const __m256 held = _mm256_max_ps(_mm256_set1_ps(-126.0F), y);  // a NaN stays one
  const __m256 shifted = _mm256_add_ps(held, round);
  const __m256 f = _mm256_sub_ps(held, _mm256_sub_ps(shifted, round));
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(9.582852705e-3F), f, _mm256_set1_ps(5.590642466e-2F));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.402409862e-1F));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.931241934e-1F));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0F));
  const __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  const __m256 x = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
  return _mm256_and_ps(x, _mm256_cmp_ps(y, _mm256_set1_ps(-125.0F), _CMP_NLT_UQ));
}

static inline bool sees_all(VisibleSlots visible) {
  return visible.first <= 0 && visible.last >= static_cast<int>(kPageSlots);
}
// All ones in the lanes of slots first .. first + 7 that are visible.
static inline __m256 visible_lanes(VisibleSlots visible, int first) {
  const __m256i slot = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(slot, _mm256_set1_epi32(visible.first - 1)),
                                              _mm256_cmpgt_epi32(_mm256_set1_epi32(visible.last), slot)));
}

}  // namespace loci::simd_avx2
