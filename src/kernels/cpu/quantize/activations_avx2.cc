#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, uint32_t value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, int32_t value) { std::memcpy(to, &value, sizeof value); }

__m256i magnitude(__m256 v) { return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)); }

// What four columns may reach without being wide.
float narrow_limit(const float* x, size_t columns, Precision precision) {
  __m256 low = _mm256_setzero_ps(), high = low;
  for (size_t k = 0; k < columns; k += 16) {
    low = _mm256_add_ps(low, _mm256_castsi256_ps(magnitude(_mm256_loadu_ps(x + k))));
    high = _mm256_add_ps(high, _mm256_castsi256_ps(magnitude(_mm256_loadu_ps(x + k + 8))));
  }
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  const float sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  return 127.0F * precision.step * (sum / static_cast<float>(columns));
}

// The largest of each four neighbours, in all four of their lanes.
__m256i largest_of_four(__m256i v) {
  v = _mm256_max_epu32(v, _mm256_shuffle_epi32(v, 0xb1));
  return _mm256_max_epu32(v, _mm256_shuffle_epi32(v, 0x4e));
}

// The largest of two groups of equal lanes.
uint32_t largest_of_lanes(__m256i v) {
  return static_cast<uint32_t>(
      _mm_cvtsi128_si32(_mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1))));
}

int32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

// Four vectors of eight int32 in [-128, 127] as 32 bytes in order.
__m256i narrow(const __m256i q[4]) {
  const __m256i a = _mm256_packs_epi32(q[0], q[1]), b = _mm256_packs_epi32(q[2], q[3]);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

}  // namespace

void round_row_avx2(const float* x, size_t columns, Precision precision, const GroupRow& to) {
  const __m256 limits = _mm256_set1_ps(narrow_limit(x, columns, precision));
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    __m256 v[4];
    __m256i q[4];
    __m256i largest_each = _mm256_setzero_si256(), narrow_each = largest_each;
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + 8 * i);
      const __m256i four = largest_of_four(magnitude(v[i]));
      // Not greater, rather than less or equal: a limit that is no number makes nothing wide.
      const __m256i is_narrow = _mm256_castps_si256(_mm256_cmp_ps(_mm256_castsi256_ps(four), limits, _CMP_NGT_UQ));
      largest_each = _mm256_max_epu32(largest_each, four);
      narrow_each = _mm256_max_epu32(narrow_each, _mm256_and_si256(four, is_narrow));
      q[i] = _mm256_setzero_si256();
    }
    const uint32_t largest_bits = largest_of_lanes(largest_each), narrow_bits = largest_of_lanes(narrow_each);
    float largest, largest_narrow;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    std::memcpy(&largest_narrow, &narrow_bits, sizeof largest_narrow);
    float scale = 0;
    if (largest_bits >= 0x7f800000u) {
      scale = __builtin_nanf("");
    } else if (largest >= 0x1p-100F) {
      const float m = std::max(largest_narrow, largest * 0x1p-8F);
      scale = m / 127.0F;
      const __m256 inverse = _mm256_set1_ps(127.0F / m);
      for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    }
    const __m256i first = _mm256_add_epi32(q[0], q[1]);
    const int32_t first_sum = sum_of(first);
    const int32_t sum = sum_of(_mm256_add_epi32(first, _mm256_add_epi32(q[2], q[3])));
    __m256i low[4], high[4];
    for (int i = 0; i < 4; ++i) {
      high[i] = _mm256_srai_epi32(_mm256_add_epi32(q[i], _mm256_set1_epi32(128)), 8);
      low[i] = _mm256_sub_epi32(q[i], _mm256_slli_epi32(high[i], 8));
    }
    const __m256i high_codes = narrow(high);
    const __m256i zero_fours = _mm256_cmpeq_epi32(high_codes, _mm256_setzero_si256());
    const int wide = ~_mm256_movemask_ps(_mm256_castsi256_ps(zero_fours)) & 0xff;
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* codes = block + 32 * to.in_group;
    std::byte* row = block + 4 * to.in_group;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), narrow(low));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + ActivationBlock::high(to.rows)), high_codes);
    store(row + ActivationBlock::scale(to.rows), scale);
    store(row + ActivationBlock::scale_sum(to.rows), scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * first_sum);
    store(row + ActivationBlock::wide(to.rows), static_cast<uint32_t>(wide));
  }
}

}  // namespace loci::detail
