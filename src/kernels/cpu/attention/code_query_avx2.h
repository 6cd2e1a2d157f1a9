// Queries for the AVX2 kernels that multiply a page's codes, rounded per row far more finely than the keys are:
//     kv8   to 16 bits, multiplied by vpmaddwd with codes widened to 16 bits
//     kv4   to 8 bits, multiplied by vpmaddubsw
// so that  q . key = step * sum_g (scale_g * (code . terms) + minimum_g * (sum of terms over g))  over the groups g of
// 32 dimensions that share a scale. Include only from *_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention/lanes_avx2.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci::simd_avx2 {

inline constexpr float kLevels = 32512.0F;  // of 16-bit queries and weights

// Sixteen numbers in 16 bits, those of each four in the order 0, 2, 1, 3: the first two meet the even bytes of a word
// of codes, the others the odd ones.
static inline __m256i paired(__m256i first, __m256i second) {
  const __m256i fours = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xd8);
  return _mm256_shuffle_epi8(fours, _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                                     0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
}

// Where a prepared query lies. Four rows are interleaved by four dimensions, so that a register tile of rows reads them
// at constant distances from one pointer: terms [dim / 4][4 rows][8 bytes], of kv4 [dim / 4][4 rows][4 bytes], then
// steps [4] and sums [dim / 32][4].
template <int kBits>
struct Query {
  static constexpr size_t kRows = 4;
  static constexpr size_t kTerm = kBits == 8 ? 8 : 4;  // bytes of four dimensions of a row
  static constexpr size_t kStride = kRows * kTerm;     // from four dimensions to the next

  const std::byte* base;
  size_t dim;

  static size_t group_bytes(size_t dim) { return dim / 4 * kStride + kRows * (dim / kCodeGroup + 1) * sizeof(float); }
  // The group of rows that `row` belongs to.
  static Query at(const std::byte* queries, size_t row, size_t dim) { return {queries + group_at(row, dim), dim}; }

  // Bytes from the queries to a row's group, and from there to its terms and numbers.
  static size_t group_at(size_t row, size_t dim) { return row / kRows * group_bytes(dim); }
  static size_t terms_at(size_t row, size_t d) { return d / 4 * kStride + row % kRows * kTerm; }
  static size_t number_at(size_t row, size_t dim, size_t index) {
    return dim / 4 * kStride + (index * kRows + row % kRows) * sizeof(float);
  }

  // Of the group's first row; others follow at kTerm bytes each.
  const std::byte* terms() const { return base; }
  float step(size_t row) const { return number(row, 0); }
  // The sum of a group's terms.
  float sum(size_t row, size_t group) const { return number(row, 1 + group); }

 private:
  float number(size_t row, size_t index) const {
    float out;
    std::memcpy(&out, base + number_at(row, dim, index), sizeof out);
    return out;
  }
};

template <int kBits>
static inline void load_code_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  constexpr float kMost = kBits == 8 ? kLevels : 127.0F;
  using Place = Query<kBits>;
  std::byte* to = queries + Place::group_at(row, dim);
  const float top = largest_magnitude(q, dim);
  // A query that is infinite makes a NaN of its outputs through the step.
  const bool usable = std::isfinite(top) && top > 0x1p-100F;
  const float step = std::isfinite(top) ? top / kMost : std::numeric_limits<float>::quiet_NaN();
  const __m256 inverse = _mm256_set1_ps(usable ? kMost / top : 0.0F);
  std::memcpy(to + Place::number_at(row, dim, 0), &step, sizeof step);
  for (size_t group = 0; group < dim / kCodeGroup; ++group) {
    __m256i total = _mm256_setzero_si256();
    for (size_t d = group * kCodeGroup; d < (group + 1) * kCodeGroup; d += kLanes) {
      const __m256i term =
          usable ? _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(q + d), inverse)) : _mm256_setzero_si256();
      std::byte* at = to + Place::terms_at(row, d);
      if constexpr (kBits == 8) {
        alignas(16) uint64_t fours[2];
        _mm_store_si128(reinterpret_cast<__m128i*>(fours), _mm256_castsi256_si128(paired(term, term)));
        std::memcpy(at, &fours[0], 8);
        std::memcpy(at + Place::kStride, &fours[1], 8);
      } else {
        const __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(term), _mm256_extracti128_si256(term, 1));
        alignas(16) uint32_t fours[4];
        _mm_store_si128(reinterpret_cast<__m128i*>(fours), _mm_packs_epi16(packed, packed));
        std::memcpy(at, &fours[0], 4);
        std::memcpy(at + Place::kStride, &fours[1], 4);
      }
      total = _mm256_add_epi32(total, term);
    }
    alignas(32) int32_t parts[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts), total);
    int32_t all = 0;
    for (const int32_t part : parts) all += part;
    const auto sum = static_cast<float>(all);
    std::memcpy(to + Place::number_at(row, dim, 1 + group), &sum, sizeof sum);
  }
}

}  // namespace loci::simd_avx2
