// Integer products that are added to a sum, two instructions each. Include only from *_avx2.cc, which are compiled without
// GCC's reassociation: it turns chains of integer additions into trees, whose leaves do not fit into 16 registers.
#pragma once

#include <immintrin.h>

namespace loci::simd_avx2 {

// sums + unsigned bytes . signed bytes: 16 sums of two products, in 16 bits, saturated.
static inline __m256i add_byte_products(__m256i sums, __m256i unsigned_bytes, __m256i signed_bytes) {
  return _mm256_add_epi16(sums, _mm256_maddubs_epi16(unsigned_bytes, signed_bytes));
}

// sums + a . b: 8 sums of two products of 16 bits.
static inline __m256i add_word_products(__m256i sums, __m256i a, __m256i b) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}

}  // namespace loci::simd_avx2
