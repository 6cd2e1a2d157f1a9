// Sixteen exponentials; equals exp_scalar bit for bit. Include only from *_avx512.cc files.
#pragma once

#include <immintrin.h>

#include <limits>

#include "kernels/cpu/math/exp_constants.h"

namespace loci {

inline __m512 exp_avx512(__m512 x) {
  namespace c = exp_constants;
  const __m512 round = _mm512_set1_ps(c::kRound);
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(c::kLog2E), round);
  const __m512 n = _mm512_sub_ps(shifted, round);
  __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(c::kMinusLn2High), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(c::kMinusLn2Low), r);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(c::kC6), r, _mm512_set1_ps(c::kC5));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c::kC4));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c::kC3));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c::kC2));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  __m512 y = _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
  y = _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, _mm512_set1_ps(c::kHighest), _CMP_GT_OQ),
                         _mm512_set1_ps(std::numeric_limits<float>::infinity()));
  y = _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
  // Not less than the lowest, or NaN.
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(c::kLowest), _CMP_NLT_UQ), y);
}

}  // namespace loci
