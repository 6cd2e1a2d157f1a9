// What the AVX-512 products of integer layouts are made of: dot products of a tile's codes with rows of activations.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace loci::detail::simd_avx512 {

// Ahead of the weights being read, where few rows make memory the bound: 200 ns of a core's bandwidth.
constexpr size_t kPrefetchBytes = 6144;

inline __m512i broadcast_i32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof value);
  return _mm512_set1_epi32(value);
}

inline __m512 broadcast_f32(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return _mm512_set1_ps(value);
}

inline uint32_t load_u32(const std::byte* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline __m512 load_halves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// sum + codes . q, four products a lane. In assembly because GCC 12 copies every accumulator of the intrinsic in and
// out of its register around a loop's body.
inline __m512i add_products(__m512i sum, __m512i codes, __m512i q) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(q));
  return sum;
}

inline void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// The rows' low or high parts of four columns.
template <int kRows>
inline void load_four(const std::byte* q, int column, __m512i (&four)[kRows]) {
  for (int r = 0; r < kRows; ++r) four[r] = broadcast_i32(q + 32 * r + 4 * column);
}

// A panel's codes of four columns against those.
template <int kRows, int kPanels>
inline void accumulate(__m512i codes, const __m512i (&four)[kRows], int panel, __m512i (&idot)[kRows][kPanels]) {
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) idot[r][panel] = add_products(idot[r][panel], codes, four[r]);
}

// idot += codes . q over columns [first, first + kCount) of a block; 4-bit codes take a whole one.
template <int kBits, int kCount, int kRows, int kPanels>
inline void add_dots(const std::byte* codes, size_t stride, const std::byte* q, int first,
                     __m512i (&idot)[kRows][kPanels]) {
  if constexpr (kBits == 8) {
#pragma GCC unroll 8
    for (int column = first / 4; column < (first + kCount) / 4; ++column) {
      __m512i four[kRows];
      load_four(q, column, four);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        accumulate(_mm512_loadu_si512(codes + p * stride + 64 * column), four, p, idot);
      }
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m512i first_four[kRows], second_four[kRows];
      load_four(q, j, first_four);
      load_four(q, j + 4, second_four);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        const __m512i pair = _mm512_loadu_si512(codes + p * stride + 64 * j);
        accumulate(_mm512_and_si512(pair, low), first_four, p, idot);
        accumulate(_mm512_and_si512(_mm512_srli_epi16(pair, 4), low), second_four, p, idot);
      }
    }
  }
}

}  // namespace loci::detail::simd_avx512
