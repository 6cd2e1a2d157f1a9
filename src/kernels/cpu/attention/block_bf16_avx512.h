// What a page becomes for kernels of bfloat16 products (AVX512_BF16): pairs of numbers that one instruction multiplies,
//
//   keys    [dim / 2][64 slots] pairs of dimensions      values  [32 slot pairs][dim] pairs of slots
//
// and queries [rows][dim]. Include only from *_bf16_avx512.cc and *_amx.cc.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/attention/soften_avx512.h"

namespace loci::simd_avx512 {

static inline __m512 broadcast_half(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return _mm512_set1_ps(_cvtsh_ss(bits));
}

// Lane i holds even[i] in its low half and odd[i] in its high half.
static inline __m512i pair_up(__m512 even, __m512 odd) {
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

// The fields of 16 words as floats.
template <int kShift, int kMask>
static inline __m512 field(__m512i words) {
  return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(words, kShift), _mm512_set1_epi32(kMask)));
}

// Values [64][dim] as pairs of slots [32][dim] are what accumulate() multiplies, behind the keys' part of a block.
static inline size_t values_offset(size_t dim) { return dim / 2 * kPageSlots * 4; }

// Keys of kv16.
static inline void load_bf16_halves(const PageLayout& layout, const std::byte* page, std::byte* block) {
  for (size_t d = 0; d < layout.padded_dim; d += 2) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16, block += 64) {
      const std::byte* from = page + (d * kPageSlots + slot) * 2;
      _mm512_storeu_si512(block, pair_up(load_halves(from), load_halves(from + kPageSlots * 2)));
    }
  }
}

// A page of kv16.
static inline void load_bf16_block(const PageLayout& layout, const std::byte* page, std::byte* block) {
  load_bf16_halves(layout, page, block);
  block += values_offset(layout.padded_dim);
  for (size_t slot = 0; slot < kPageSlots; slot += 2) {
    for (size_t d = 0; d < layout.padded_dim; d += 16, block += 64) {
      const std::byte* from = page + value_half(layout, slot, d);
      _mm512_storeu_si512(block, pair_up(load_halves(from), load_halves(from + kCodeGroup * 2)));
    }
  }
}

static inline void load_bf16_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  for (size_t d = 0; d < dim; d += 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(queries + (row * dim + d) * 2),
                        (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(q + d)));
  }
}

// The numbers in `words`, each  scale[i] * code + minimum[i], stored as pairs, a row apart.
template <bool kBytes>
static inline void store_pairs(__m512i words, const __m512* scale, const __m512* minimum, std::byte* to,
                               size_t row_bytes) {
  const auto pair = [&](int i, __m512 even, __m512 odd) {
    even = _mm512_fmadd_ps(even, scale[2 * i], minimum[2 * i]);
    odd = _mm512_fmadd_ps(odd, scale[2 * i + 1], minimum[2 * i + 1]);
    _mm512_storeu_si512(to + static_cast<size_t>(i) * row_bytes, pair_up(even, odd));
  };
  if constexpr (kBytes) {
    pair(0, field<0, 255>(words), field<8, 255>(words));
    pair(1, field<16, 255>(words), field<24, 255>(words));
  } else {
    pair(0, field<0, 15>(words), field<8, 15>(words));
    pair(1, field<16, 15>(words), field<24, 15>(words));
    pair(2, field<4, 15>(words), field<12, 15>(words));
    pair(3, field<20, 15>(words), field<28, 15>(words));
  }
}

template <bool kBytes>
static inline void load_bf16_values(const PageLayout& layout, const std::byte* page, std::byte* block) {
  constexpr uint32_t kPerWord = kBytes ? 4 : 8;
  const size_t dim = layout.padded_dim;
  __m512 scale[kPerWord], minimum[kPerWord];
  block += values_offset(dim);
  for (size_t slot = 0; slot < kPageSlots; slot += kPerWord) {
    for (size_t d = 0; d < dim; d += 16) {
      if (d % kCodeGroup == 0) {
        const size_t column = (d / kCodeGroup * kPageSlots + slot) * 2;
        for (size_t i = 0; i < kPerWord; ++i) {
          scale[i] = broadcast_half(page + layout.value_scales + column + 2 * i);
          minimum[i] = broadcast_half(page + layout.value_minimums + column + 2 * i);
        }
      }
      const __m512i words = _mm512_loadu_si512(page + value_word(layout, kPerWord, slot, d));
      store_pairs<kBytes>(words, scale, minimum, block + (slot / 2 * dim + d) * 4, dim * 4);
    }
  }
}

// Keys of codes, decoded.
template <bool kBytes>
static inline void load_bf16_keys(const PageLayout& layout, const std::byte* page, std::byte* block) {
  constexpr uint32_t kPerWord = kBytes ? 4 : 8;
  for (size_t slot = 0; slot < kPageSlots; slot += 16) {
    __m512 scale[kPerWord], minimum[kPerWord];
    for (size_t d = 0; d < layout.padded_dim; d += kPerWord) {
      if (d % kCodeGroup == 0) {
        const size_t column = (d / kCodeGroup * kPageSlots + slot) * 2;
        for (__m512& x : scale) x = load_halves(page + layout.key_scales + column);
        for (__m512& x : minimum) x = load_halves(page + layout.key_minimums + column);
      }
      const __m512i words = _mm512_loadu_si512(page + key_word(layout, kPerWord, slot, d));
      store_pairs<kBytes>(words, scale, minimum, block + (d / 2 * kPageSlots + slot) * 4, kPageSlots * 4);
    }
  }
}

}  // namespace loci::simd_avx512
