// What the AVX2 products of integer layouts are made of: dot products of half a panel's codes with rows of activations.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/gemm/gemm.h"

namespace loci::detail::simd_avx2 {

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

// Eight outputs (half 0 or 1 of the panel, 0 to 3 of the tile) of each row.
template <int kRows>
inline void store_rows(const TileProduct& t, int half, const __m256* acc) {
  const int exist = static_cast<int>(t.outputs) - 8 * half;
  if (exist <= 0) return;
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(exist), lanes);
  for (int r = 0; r < kRows; ++r) _mm256_maskstore_ps(t.out + r * t.out_stride + 8 * half, mask, acc[r]);
}

// sums += eight pairs' products, in 16 bits.
inline __m256i add_pairs(__m256i sums, __m256i codes, const std::byte* q) {
  return _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, broadcast_i32(q)));
}

// idot += sums * factor, neighbours added.
inline __m256i add_sums(__m256i idot, __m256i sums, int factor) {
  return _mm256_add_epi32(idot, _mm256_madd_epi16(sums, _mm256_set1_epi16(static_cast<int16_t>(factor))));
}

// idot += the products of a whole block of 4-bit codes and the rows' `q`.
template <int kRows>
inline void dot_4bit(const std::byte* codes, const std::byte* q, __m256i* idot) {
  __m256i sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i pair = load_bytes(codes + 64 * j), even = low_half(pair), odd = high_half(pair);
    for (int r = 0; r < kRows; ++r) {
      sums[r] = add_pairs(add_pairs(sums[r], even, q + 32 * r + 4 * j), odd, q + 32 * r + 4 * j + 16);
    }
  }
  for (int r = 0; r < kRows; ++r) idot[r] = add_sums(idot[r], sums[r], 1);
}

// The same for a group of 8-bit codes that starts at column `first`; at most 31 if they are small.
template <int kGroup, bool kSmall, int kRows>
inline void dot_8bit(const std::byte* codes, const std::byte* q, int first, __m256i* idot) {
  constexpr int kRun = kSmall ? 4 : kGroup / 4;  // vectors of codes that are added up in 16 bits
  for (int start = first / 4; start < (first + kGroup) / 4; start += kRun) {
    __m256i low[kRows], high[kRows];
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = start; j < start + kRun; ++j) {
      const __m256i code = load_bytes(codes + 64 * j);
      for (int r = 0; r < kRows; ++r) {
        low[r] = add_pairs(low[r], kSmall ? code : low_half(code), q + 32 * r + 4 * j);
        if (!kSmall) high[r] = add_pairs(high[r], high_half(code), q + 32 * r + 4 * j);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      idot[r] = add_sums(idot[r], low[r], 1);
      if (!kSmall) idot[r] = add_sums(idot[r], high[r], 16);
    }
  }
}

}  // namespace loci::detail::simd_avx2
