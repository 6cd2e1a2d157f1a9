#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, uint32_t value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, int32_t value) { std::memcpy(to, &value, sizeof value); }

__m256i magnitude(__m256 v) { return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)); }

uint32_t largest_lane(__m256i v) {
  __m128i s = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(s));
}

RowStep step_of_row(const float* x, size_t columns, Precision precision) {
  __m256 low = _mm256_setzero_ps(), high = low;
  __m256i largest = _mm256_setzero_si256();
  for (size_t k = 0; k < columns; k += 16) {
    const __m256i a = magnitude(_mm256_loadu_ps(x + k)), b = magnitude(_mm256_loadu_ps(x + k + 8));
    low = _mm256_add_ps(low, _mm256_castsi256_ps(a));
    high = _mm256_add_ps(high, _mm256_castsi256_ps(b));
    largest = _mm256_max_epu32(largest, _mm256_max_epu32(a, b));
  }
  const __m256 eight = _mm256_add_ps(low, high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  const float sum = _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  return row_step(largest_lane(largest), sum, columns, precision);
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
  const RowStep row_step = step_of_row(x, columns, precision);
  store(to.group + steps_offset(columns, to.rows) + 4 * to.in_group, row_step.step);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    __m256 v[4];
    __m256i q[4];
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + 8 * i);
      largest = _mm256_max_epu32(largest, magnitude(v[i]));
    }
    const BlockScale s =
        row_step.reaches ? BlockScale{1, row_step.inverse} : block_scale(largest_lane(largest), row_step);
    const __m256 inverse = _mm256_set1_ps(s.inverse);
    for (int i = 0; i < 4; ++i) {
      q[i] = s.inverse == 0 ? _mm256_setzero_si256() : _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
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
    store(row + ActivationBlock::scale(to.rows), s.scale);
    store(row + ActivationBlock::scale_sum(to.rows), s.scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * first_sum);
    store(row + ActivationBlock::flags(to.rows),
          static_cast<uint32_t>(wide) | (s.scale == 1.0F ? 0 : ActivationBlock::kScaled));
  }
}

}  // namespace loci::detail
