// Eight exponentials; equals exp_scalar bit for bit. Include only from *_avx2.cc files.
#pragma once

#include <immintrin.h>

#include <limits>

#include "kernels/cpu/math/exp_constants.h"

namespace loci {

inline __m256 exp_avx2(__m256 x) {
  namespace c = exp_constants;
  const __m256 round = _mm256_set1_ps(c::kRound);
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(c::kLog2E), round);
  const __m256 n = _mm256_sub_ps(shifted, round);
  __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(c::kMinusLn2High), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(c::kMinusLn2Low), r);
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(c::kC6), r, _mm256_set1_ps(c::kC5));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c::kC4));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c::kC3));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c::kC2));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
  __m256 y = _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
  const __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(c::kLowest), _CMP_LT_OQ);
  const __m256 high = _mm256_cmp_ps(x, _mm256_set1_ps(c::kHighest), _CMP_GT_OQ);
  const __m256 unordered = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  y = _mm256_blendv_ps(y, _mm256_set1_ps(std::numeric_limits<float>::infinity()), high);
  y = _mm256_blendv_ps(y, x, unordered);
  return _mm256_andnot_ps(low, y);
}

}  // namespace loci
