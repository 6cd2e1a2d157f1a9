#include <immintrin.h>

#include <algorithm>

#include "kernels/cpu/rope/rotate.h"

namespace loci::detail {
namespace {

inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1); }

}  // namespace

void rotate_adjacent_avx512(float* head, const float* cosines, const float* sines, size_t half) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  for (size_t i = 0; i < half; i += 8) {
    const size_t pairs = std::min<size_t>(8, half - i);
    const __mmask16 exist = first_lanes(2 * pairs);
    const __m512 x = _mm512_maskz_loadu_ps(exist, head + 2 * i);
    const __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(first_lanes(pairs), cosines + i));
    const __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(first_lanes(pairs), sines + i));
    const __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(x, 0xb1), s);
    _mm512_mask_storeu_ps(head + 2 * i, exist, _mm512_fmaddsub_ps(x, c, crossed));
  }
}

void rotate_halves_avx512(float* head, const float* cosines, const float* sines, size_t half) {
  for (size_t i = 0; i < half; i += 16) {
    const __mmask16 exist = first_lanes(half - i);
    const __m512 a = _mm512_maskz_loadu_ps(exist, head + i), b = _mm512_maskz_loadu_ps(exist, head + half + i);
    const __m512 c = _mm512_maskz_loadu_ps(exist, cosines + i), s = _mm512_maskz_loadu_ps(exist, sines + i);
    _mm512_mask_storeu_ps(head + i, exist, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
    _mm512_mask_storeu_ps(head + half + i, exist, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
  }
}

}  // namespace loci::detail
