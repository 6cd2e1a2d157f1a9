#include <immintrin.h>

#include <cmath>

#include "kernels/cpu/rope/rotate.h"

namespace loci::detail {
namespace {

inline void rotate_pair(float& a, float& b, float c, float s) {
  const float x = a, y = b;
  a = std::fma(x, c, -(y * s));
  b = std::fma(y, c, x * s);
}

// Four numbers, each twice.
inline __m256 load_twice(const float* from) {
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), twice);
}

}  // namespace

void rotate_adjacent_avx2(float* head, const float* cosines, const float* sines, size_t half) {
  size_t i = 0;
  for (; i + 4 <= half; i += 4) {
    const __m256 x = _mm256_loadu_ps(head + 2 * i);
    const __m256 crossed = _mm256_mul_ps(_mm256_permute_ps(x, 0xb1), load_twice(sines + i));
    _mm256_storeu_ps(head + 2 * i, _mm256_fmaddsub_ps(x, load_twice(cosines + i), crossed));
  }
  for (; i < half; ++i) rotate_pair(head[2 * i], head[2 * i + 1], cosines[i], sines[i]);
}

void rotate_halves_avx2(float* head, const float* cosines, const float* sines, size_t half) {
  size_t i = 0;
  for (; i + 8 <= half; i += 8) {
    const __m256 a = _mm256_loadu_ps(head + i), b = _mm256_loadu_ps(head + half + i);
    const __m256 c = _mm256_loadu_ps(cosines + i), s = _mm256_loadu_ps(sines + i);
    _mm256_storeu_ps(head + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
    _mm256_storeu_ps(head + half + i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
  }
  for (; i < half; ++i) rotate_pair(head[i], head[i + half], cosines[i], sines[i]);
}

}  // namespace loci::detail
