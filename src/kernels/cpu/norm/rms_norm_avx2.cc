#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/norm/rms_norm.h"

namespace loci::detail {

void rms_norm_row_avx2(const float* x, const float* weight, float eps, size_t width, float* out) {
  const size_t whole = width / 16 * 16;
  __m256 low = _mm256_setzero_ps(), high = low;
  for (size_t i = 0; i < whole; i += 16) {
    const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
    low = _mm256_fmadd_ps(a, a, low);
    high = _mm256_fmadd_ps(b, b, high);
  }
  if (whole < width) {
    float lanes[16];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
    for (size_t i = whole; i < width; ++i) lanes[i - whole] = std::fma(x[i], x[i], lanes[i - whole]);
    low = _mm256_loadu_ps(lanes);
    high = _mm256_loadu_ps(lanes + 8);
  }
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  const float sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));

  const float factor = 1.0F / std::sqrt(sum / static_cast<float>(width) + eps);
  const __m256 factors = _mm256_set1_ps(factor);
  size_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factors);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
  }
  for (; i < width; ++i) out[i] = x[i] * factor * weight[i];
}

}  // namespace loci::detail
