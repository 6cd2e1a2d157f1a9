#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

void store(std::byte* to, float value) { std::memcpy(to, &value, sizeof value); }
void store(std::byte* to, int32_t value) { std::memcpy(to, &value, sizeof value); }

}  // namespace

void round_row_avx512(const float* x, size_t columns, const GroupRow& to) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    const uint32_t largest_bits = _mm512_reduce_max_epu32(_mm512_max_epu32(
        _mm512_and_si512(_mm512_castps_si512(low), magnitude), _mm512_and_si512(_mm512_castps_si512(high), magnitude)));
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    float scale = 0;
    __m512i q_low = _mm512_setzero_si512(), q_high = q_low;
    if (largest_bits >= 0x7f800000u) {
      scale = __builtin_nanf("");
    } else if (largest >= 0x1p-100F) {
      scale = largest / 127.0F;
      const __m512 inverse = _mm512_set1_ps(127.0F / largest);
      q_low = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
      q_high = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    }
    const int32_t low_sum = _mm512_reduce_add_epi32(q_low);
    const int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q_low, q_high));
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* row = block + 4 * to.in_group;
    auto* q = reinterpret_cast<__m128i*>(block + 32 * to.in_group);
    _mm_storeu_si128(q, _mm512_cvtepi32_epi8(q_low));
    _mm_storeu_si128(q + 1, _mm512_cvtepi32_epi8(q_high));
    store(row + ActivationBlock::scale(to.rows), scale);
    store(row + ActivationBlock::scale_sum(to.rows), scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * low_sum);
  }
}

void rounding_rest_avx512(const float* x, size_t columns, const GroupRow& rounded, float* rest) {
  for (size_t k = 0; k < columns; k += 16) {
    const std::byte* block = rounded.group + k / 32 * ActivationBlock::kRowBytes * rounded.rows;
    const std::byte* q = block + 32 * rounded.in_group + k % 32;
    float scale;
    std::memcpy(&scale, block + ActivationBlock::scale(rounded.rows) + 4 * rounded.in_group, sizeof scale);
    const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q))));
    _mm512_storeu_ps(rest + k, _mm512_sub_ps(_mm512_loadu_ps(x + k), _mm512_mul_ps(value, _mm512_set1_ps(scale))));
  }
}

}  // namespace loci::detail
