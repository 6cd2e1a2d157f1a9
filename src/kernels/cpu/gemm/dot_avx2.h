// What the AVX2 products of integer layouts are made of: dot products of a panel's codes with rows of activations. A
// panel's 16 outputs are two vectors, its halves.
//
// vpmaddubsw multiplies unsigned codes by signed activations and adds neighbours to 16 bits with saturation, which
// these ranges never reach: eight pairs of 4-bit codes stay within 8 * 2 * 15 * 128 = 30720, four of at most 5 bits
// within 4 * 2 * 31 * 128 = 31744. So sums stay in 16 bits for a whole block, and half of the vector operations are
// products.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/simd/products_avx2.h"

namespace loci::detail::gemm_avx2 {

using simd_avx2::add_byte_products;
using simd_avx2::add_word_products;

constexpr size_t kPrefetchBytes = 6144;  // ahead of the weights being read: 200 ns of a core's bandwidth

inline __m256i broadcast_i32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof value);
  return _mm256_set1_epi32(value);
}

inline __m256 broadcast_f32(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return _mm256_set1_ps(value);
}

inline uint32_t load_u32(const std::byte* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline __m256i load_bytes(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

inline __m256 load_halves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline __m256i low_half(__m256i codes) { return _mm256_and_si256(codes, _mm256_set1_epi8(15)); }
inline __m256i high_half(__m256i codes) { return low_half(_mm256_srli_epi16(codes, 4)); }

// Fetches weights ahead of their use: one row those that it comes to, more rows the tile's share of the next item's.
template <int kRows, size_t kBlockBytes>
class Fetch {
 public:
  Fetch(const TileProduct& t, int panel) : ahead_(t.ahead), lines_(panel == 0 ? t.ahead_lines : 0) {}

  // With every block.
  void next(const std::byte* codes) {
    if constexpr (kRows == 1) {
      for (size_t line = 0; line < kBlockBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + line), _MM_HINT_T0);
      }
    } else {
      for (uint32_t line = 0; line < lines_; ++line, ahead_ += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(ahead_), _MM_HINT_T1);
      }
    }
  }

 private:
  const std::byte* ahead_;
  uint32_t lines_;
};

// Sixteen outputs of each row: panel 0 to 3 of the tile.
template <int kRows>
inline void store_rows(const TileProduct& t, int panel, const __m256 (&acc)[kRows][2]) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (int h = 0; h < 2; ++h) {
    const int first = 16 * panel + 8 * h, exist = static_cast<int>(t.outputs) - first;
    if (exist <= 0) return;
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(exist), lanes);
    for (int r = 0; r < kRows; ++r) _mm256_maskstore_ps(t.out + r * t.out_stride + first, mask, acc[r][h]);
  }
}

// Sums of products in 16 bits: what neighbouring columns of a group of rows add up to.
template <int kRows>
struct PairSums {
  __m256i sums[kRows][2];

  PairSums() {
    for (auto& row : sums) row[0] = row[1] = _mm256_setzero_si256();
  }
  // Four columns: `low` and `high` are the panel's halves, `q` points at the columns in row 0.
  void add(__m256i low, __m256i high, const std::byte* q) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      add_byte_products(sums[r][0], sums[r][1], low, high, q + 32 * r);
    }
  }
  // idot += sums * factor, neighbours added.
  void move_to(__m256i (&idot)[kRows][2], int16_t factor) const {
    const __m256i times = _mm256_set1_epi16(factor);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      for (int h = 0; h < 2; ++h) {
        idot[r][h] = _mm256_add_epi32(idot[r][h], _mm256_madd_epi16(sums[r][h], times));
      }
    }
  }
};

// What is multiplied of codes of 8 bits.
enum class Part { kAll, kLowHalf, kHighHalf };

template <Part kPart>
inline __m256i part(__m256i codes) {
  return kPart == Part::kAll ? codes : kPart == Part::kLowHalf ? low_half(codes) : high_half(codes);
}

// idot += the products of a whole block of 4-bit codes and the rows' `q`.
template <int kRows>
inline void dot_4bit(const std::byte* codes, const std::byte* q, __m256i (&idot)[kRows][2]) {
  PairSums<kRows> sums;
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j, codes += 64) {
    const __m256i low = load_bytes(codes), high = load_bytes(codes + 32);
    sums.add(low_half(low), low_half(high), q + 4 * j);
    sums.add(high_half(low), high_half(high), q + 4 * j + 16);
  }
  sums.move_to(idot, 1);
}

template <Part kPart, int kVectors, int kRows>
inline void dot_part(const std::byte* codes, const std::byte* q, int16_t factor, __m256i (&idot)[kRows][2]) {
  PairSums<kRows> sums;
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) {
    sums.add(part<kPart>(load_bytes(codes + 64 * j)), part<kPart>(load_bytes(codes + 64 * j + 32)), q + 4 * j);
  }
  sums.move_to(idot, factor);
}

// The same for a group of 8-bit codes that starts at column `first`; at most 31 if they are small.
template <int kGroup, bool kSmall, int kRows>
inline void dot_8bit(const std::byte* codes, const std::byte* q, int first, __m256i (&idot)[kRows][2]) {
  if constexpr (kSmall) {
    for (int column = first; column < first + kGroup; column += 16) {
      dot_part<Part::kAll, 4>(codes + 16 * column, q + column, 1, idot);
    }
  } else {
    dot_part<Part::kLowHalf, kGroup / 4>(codes + 16 * first, q + first, 1, idot);
    dot_part<Part::kHighHalf, kGroup / 4>(codes + 16 * first, q + first, 16, idot);
  }
}

// Where the two parts of a block's columns lie.
struct ByteColumns {
  const std::byte* low;
  const std::byte* high;

  ByteColumns(const std::byte* low_parts, const std::byte* high_parts) : low(low_parts), high(high_parts) {}
};

// A block's columns with both their parts, q = low + 256 high, in 16 bits: of each four the pairs (0, 2) and (1, 3),
// which meet the even and the odd bytes of a word of codes.
template <int kRows>
struct WordColumns {
  alignas(32) std::byte pairs[kRows][2][32];

  WordColumns(const std::byte* low, const std::byte* high) {
    for (int r = 0; r < kRows; ++r) {
      const __m256i l = load_bytes(low + 32 * r), h = load_bytes(high + 32 * r);
      const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(l, 8), 8), odd = _mm256_srai_epi16(l, 8);
      const __m256i high_odd = _mm256_andnot_si256(_mm256_set1_epi16(255), h);
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[r][0]), _mm256_add_epi16(even, _mm256_slli_epi16(h, 8)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[r][1]), _mm256_add_epi16(odd, high_odd));
    }
  }
};

// idot += the products of a group of 8-bit codes that starts at column `first` and whole columns.
template <int kGroup, int kRows>
inline void dot_words(const std::byte* codes, const WordColumns<kRows>& q, int first, __m256i (&idot)[kRows][2]) {
#pragma GCC unroll 2
  for (int four = first / 4; four < (first + kGroup) / 4; ++four) {
    const __m256i low = load_bytes(codes + 64 * four), high = load_bytes(codes + 64 * four + 32);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m256i a = i == 0 ? _mm256_and_si256(low, _mm256_set1_epi16(255)) : _mm256_srli_epi16(low, 8);
      const __m256i b = i == 0 ? _mm256_and_si256(high, _mm256_set1_epi16(255)) : _mm256_srli_epi16(high, 8);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) add_word_products(idot[r][0], idot[r][1], a, b, q.pairs[r][i] + 4 * four);
    }
  }
}

// idot += factor times the products of those fours of columns that `wide` names: no more than 16 bits can add up.
template <int kBits, int kRows>
inline void dot_wide(const std::byte* codes, const std::byte* high, uint32_t wide, int16_t factor,
                     __m256i (&idot)[kRows][2]) {
  PairSums<kRows> sums;
  for (; wide != 0; wide &= wide - 1) {
    const int four = __builtin_ctz(wide);
    const std::byte* from = codes + 64 * (kBits == 8 ? four : four & 3);
    __m256i low = load_bytes(from), upper = load_bytes(from + 32);
    if constexpr (kBits == 4) {
      const __m128i shift = _mm_cvtsi32_si128(four & 4);
      low = low_half(_mm256_srl_epi16(low, shift));
      upper = low_half(_mm256_srl_epi16(upper, shift));
    }
    sums.add(low, upper, high + 4 * four);
  }
  sums.move_to(idot, factor);
}

}  // namespace loci::detail::gemm_avx2
