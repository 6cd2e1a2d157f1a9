// Queries for the kernels that multiply a page's codes, rounded per row far more finely than the keys are:
//     kv8   to 16 bits, q = step * (256 high + low)
//     kv4   to 8 bits,  q = step * high
// so that  q . key = step * sum_g (scale_g * (code . terms) + minimum_g * (sum of terms over g))  over the groups g of
// 32 dimensions that share a scale. Include only from *_avx512.cc.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci::simd_avx512 {

inline constexpr float kLevels = 32512.0F;  // of two terms, 127 * 256: the high one stays within -127..127
inline constexpr int kSlotVectors = kPageSlots / 16;

// Where a prepared query lies. Six rows are interleaved by four dimensions, so that a register tile of rows reads them
// at constant distances from one pointer: terms high [dim / 4][6][4], low likewise, then steps [6] and sums [dim /
// 32][6].
struct Query {
  static constexpr size_t kRows = 6;
  static constexpr size_t kStride = kRows * 4;  // bytes from four dimensions to the next

  const std::byte* base;
  size_t dim;

  static size_t group_bytes(size_t dim) { return kRows * (2 * dim + (dim / kCodeGroup + 1) * sizeof(float)); }
  static size_t offset(size_t row, size_t dim) { return row / kRows * group_bytes(dim) + row % kRows * 4; }
  static Query at(const std::byte* queries, size_t row, size_t dim) { return {queries + offset(row, dim), dim}; }

  const std::byte* high() const { return base; }
  const std::byte* low() const { return base + kRows * dim; }
  float step() const { return number(0); }
  // The sum of the group's terms, 256 high + low or high.
  float sum(size_t group) const { return number(1 + group); }

 private:
  float number(size_t index) const {
    float out;
    std::memcpy(&out, base + 2 * kRows * dim + index * kStride, sizeof out);
    return out;
  }
};

// q = 256 high + low for numbers of at most kLevels.
struct Terms {
  __m512i high;
  __m512i low;
};
static inline Terms terms_of(__m512i q) {
  const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(128)), 8);
  return {high, _mm512_sub_epi32(q, _mm512_slli_epi32(high, 8))};
}

template <int kBits>
static inline void load_code_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  constexpr float kMost = kBits == 8 ? kLevels : 127.0F;
  std::byte* to = queries + Query::offset(row, dim);
  std::byte* numbers = to + 2 * Query::kRows * dim;
  const auto scatter = [](__m512i term, std::byte* at) {  // 16 numbers, four by four
    alignas(16) int32_t words[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(words), _mm512_cvtepi32_epi8(term));
    for (size_t i = 0; i < 4; ++i) std::memcpy(at + i * Query::kStride, &words[i], 4);
  };
  __m512 largest = _mm512_setzero_ps();
  for (size_t d = 0; d < dim; d += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(q + d)));
  const float top = _mm512_reduce_max_ps(largest);
  // A query that is infinite makes a NaN of its outputs through the step.
  const bool usable = std::isfinite(top) && top > 0x1p-100F;
  const float step = std::isfinite(top) ? top / kMost : std::numeric_limits<float>::quiet_NaN();
  const __m512 inverse = _mm512_set1_ps(usable ? kMost / top : 0.0F);
  std::memcpy(numbers, &step, sizeof step);
  for (size_t group = 0; group < dim / kCodeGroup; ++group) {
    __m512i total = _mm512_setzero_si512();
    for (size_t d = group * kCodeGroup; d < (group + 1) * kCodeGroup; d += 16) {
      const __m512i code =
          usable ? _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(q + d), inverse)) : _mm512_setzero_si512();
      if constexpr (kBits == 8) {
        const Terms terms = terms_of(code);
        scatter(terms.high, to + d / 4 * Query::kStride);
        scatter(terms.low, to + Query::kRows * dim + d / 4 * Query::kStride);
      } else {
        scatter(code, to + d / 4 * Query::kStride);
      }
      total = _mm512_add_epi32(total, code);
    }
    const auto sum = static_cast<float>(_mm512_reduce_add_epi32(total));
    std::memcpy(numbers + (1 + group) * Query::kStride, &sum, sizeof sum);
  }
}

static inline __m512i broadcast_i32(const std::byte* from) {
  int32_t word;
  std::memcpy(&word, from, sizeof word);
  return _mm512_set1_epi32(word);
}

// sum + codes . terms, four products a lane. In assembly because GCC 12 copies every accumulator of the intrinsic in
// and out of its register around a loop's body.
static inline __m512i add_products(__m512i sum, __m512i codes, __m512i terms) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(terms));
  return sum;
}

// Codes 0 .. 3 (a whole byte each, or the low nibbles) and, of kv4, 4 .. 7 of 16 words.
template <int kBits>
static inline __m512i low_codes(__m512i words) {
  return kBits == 8 ? words : _mm512_and_si512(words, _mm512_set1_epi8(15));
}
static inline __m512i high_codes(__m512i words) {
  return _mm512_and_si512(_mm512_srli_epi16(words, 4), _mm512_set1_epi8(15));
}

}  // namespace loci::simd_avx512
