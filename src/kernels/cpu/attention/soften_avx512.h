// What the AVX-512 kernels of bfloat16 tiles and of codes share. Include only from *_avx512.cc.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <limits>

#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/math/exp_constants.h"

namespace loci::simd_avx512 {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

static inline __m512 load_halves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// 2^y for y <= 0, relative error below 3e-6: a polynomial of degree 4 on the fraction. 0 from 2^-126 down: Intel's
// units take a hundred times as long for a denormal number, and sharp attention is full of them.
static inline __m512 exp2_not_above_one(__m512 y) {
  const __m512 f = _mm512_reduce_ps(y, 0x09);  // y - floor(y)
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.0135341679F), f, _mm512_set1_ps(0.0520114606F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.241442757F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693003834F));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.00000259F));
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(y, _mm512_set1_ps(-126.0F), _CMP_NLT_UQ), p, y);
}

// Lanes of slots first .. first + 15 that are visible.
static inline __mmask16 visible_lanes(VisibleSlots visible, int first) {
  const auto below = [first](int slot) {
    return slot - first >= 16 ? 0xffffu : (1u << std::max(slot - first, 0)) - 1u;
  };
  return static_cast<__mmask16>(below(visible.last) & ~below(visible.first));
}

}  // namespace loci::simd_avx512
