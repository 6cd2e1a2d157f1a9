#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, uint32_t value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, int32_t value) { std::memcpy(to, &value, sizeof value); }

__m512i magnitude(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

uint32_t largest_lane(__m512i v) { return _mm512_reduce_max_epu32(v); }

float sum_of_lanes(__m512 lanes) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

RowStep step_of_row(const float* x, size_t columns, Precision precision) {
  __m512 sum = _mm512_setzero_ps();
  __m512i largest = _mm512_setzero_si512();
  for (size_t k = 0; k < columns; k += 16) {
    const __m512i v = magnitude(_mm512_loadu_ps(x + k));
    sum = _mm512_add_ps(sum, _mm512_castsi512_ps(v));
    largest = _mm512_max_epu32(largest, v);
  }
  return row_step(largest_lane(largest), sum_of_lanes(sum), columns, precision);
}

// Element 0: the sum of a's lanes; element 1: of b's.
__m128i sums_of(__m512i a, __m512i b) {
  const __m256i a8 = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti32x8_epi32(a, 1));
  const __m256i b8 = _mm256_add_epi32(_mm512_castsi512_si256(b), _mm512_extracti32x8_epi32(b, 1));
  const __m256i pairs = _mm256_hadd_epi32(a8, b8);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  return _mm_hadd_epi32(four, four);
}

__m256i narrow(__m512i first, __m512i second) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(first)), _mm512_cvtepi32_epi8(second), 1);
}

}  // namespace

void round_row_avx512(const float* x, size_t columns, Precision precision, const GroupRow& to) {
  const RowStep row_step = step_of_row(x, columns, precision);
  store(to.group + steps_offset(columns, to.rows) + 4 * to.in_group, row_step.step);
  const __m512i half = _mm512_set1_epi32(128);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    const __m512 first = _mm512_loadu_ps(x), second = _mm512_loadu_ps(x + 16);
    BlockScale s{1, row_step.inverse};
    if (!row_step.reaches) {
      s = block_scale(largest_lane(_mm512_max_epu32(magnitude(first), magnitude(second))), row_step);
    }
    __m512i q_first = _mm512_setzero_si512(), q_second = q_first;
    if (s.inverse != 0) {
      const __m512 inverse = _mm512_set1_ps(s.inverse);
      q_first = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
      q_second = _mm512_cvtps_epi32(_mm512_mul_ps(second, inverse));
    }
    const __m256i high = narrow(_mm512_srai_epi32(_mm512_add_epi32(q_first, half), 8),
                                _mm512_srai_epi32(_mm512_add_epi32(q_second, half), 8));
    const __m128i sums = sums_of(q_first, q_second);
    const int32_t first_sum = _mm_cvtsi128_si32(sums), sum = first_sum + _mm_extract_epi32(sums, 1);
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* codes = block + 32 * to.in_group;
    std::byte* row = block + 4 * to.in_group;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), narrow(q_first, q_second));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + ActivationBlock::high(to.rows)), high);
    store(row + ActivationBlock::scale(to.rows), s.scale);
    store(row + ActivationBlock::scale_sum(to.rows), s.scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * first_sum);
    store(row + ActivationBlock::flags(to.rows),
          uint32_t{_mm256_test_epi32_mask(high, high)} | (s.scale == 1.0F ? 0 : ActivationBlock::kScaled));
  }
}

}  // namespace loci::detail
