#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/norm/rms_norm.h"

namespace loci::detail {

void rms_norm_row_avx512(const float* x, const float* weight, float eps, size_t width, float* out) {
  const size_t whole = width / 16 * 16;
  const auto tail = static_cast<__mmask16>((1u << (width - whole)) - 1);
  __m512 lanes = _mm512_setzero_ps();
  for (size_t i = 0; i < whole; i += 16) {
    const __m512 v = _mm512_loadu_ps(x + i);
    lanes = _mm512_fmadd_ps(v, v, lanes);
  }
  if (tail != 0) {
    const __m512 v = _mm512_maskz_loadu_ps(tail, x + whole);
    lanes = _mm512_mask3_fmadd_ps(v, v, lanes, tail);
  }
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  const float sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));

  const __m512 factor = _mm512_set1_ps(1.0F / std::sqrt(sum / static_cast<float>(width) + eps));
  for (size_t i = 0; i < whole; i += 16) {
    const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), factor);
    _mm512_storeu_ps(out + i, _mm512_mul_ps(v, _mm512_loadu_ps(weight + i)));
  }
  if (tail != 0) {
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(tail, x + whole), factor);
    _mm512_mask_storeu_ps(out + whole, tail, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(tail, weight + whole)));
  }
}

}  // namespace loci::detail
