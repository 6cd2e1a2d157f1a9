#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, int32_t value) { std::memcpy(to, &value, sizeof value); }

uint32_t largest_of(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
}

int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// Four vectors of eight small int32 as 32 bytes in order.
__m256i narrow(const __m256i q[4]) {
  const __m256i a = _mm256_packs_epi32(q[0], q[1]), b = _mm256_packs_epi32(q[2], q[3]);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

}  // namespace

void round_row_avx2(const float* x, size_t columns, const GroupRow& to) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    __m256 v[4];
    __m256i q[4];
    __m256i largest_each = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + 8 * i);
      largest_each = _mm256_max_epu32(largest_each, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
      q[i] = _mm256_setzero_si256();
    }
    const uint32_t largest_bits = largest_of(largest_each);
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    float scale = 0;
    if (largest_bits >= 0x7f800000u) {
      scale = __builtin_nanf("");
    } else if (largest >= 0x1p-100F) {
      scale = largest / 127.0F;
      const __m256 inverse = _mm256_set1_ps(127.0F / largest);
      for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    }
    const __m256i low = _mm256_add_epi32(q[0], q[1]);
    const int32_t low_sum = sum_of(low);
    const int32_t sum = sum_of(_mm256_add_epi32(low, _mm256_add_epi32(q[2], q[3])));
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* row = block + 4 * to.in_group;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + 32 * to.in_group), narrow(q));
    store(row + ActivationBlock::scale(to.rows), scale);
    store(row + ActivationBlock::scale_sum(to.rows), scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * low_sum);
  }
}

void rounding_rest_avx2(const float* x, size_t columns, const GroupRow& rounded, float* rest) {
  for (size_t k = 0; k < columns; k += 8) {
    const std::byte* block = rounded.group + k / 32 * ActivationBlock::kRowBytes * rounded.rows;
    const std::byte* q = block + 32 * rounded.in_group + k % 32;
    float scale;
    std::memcpy(&scale, block + ActivationBlock::scale(rounded.rows) + 4 * rounded.in_group, sizeof scale);
    const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(q))));
    _mm256_storeu_ps(rest + k, _mm256_sub_ps(_mm256_loadu_ps(x + k), _mm256_mul_ps(value, _mm256_set1_ps(scale))));
  }
}

}  // namespace loci::detail
