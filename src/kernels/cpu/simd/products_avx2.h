// Integer products of four bytes or two words that one row shares with two vectors, added to two sums. In assembly
// because GCC 12 turns chains of integer additions into trees, whose leaves do not fit into 16 registers. Include only
// from
// *_avx2.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>

namespace loci::simd_avx2 {

using FourBytes = std::byte[4];

// sums += unsigned bytes . the four signed bytes at `row`: 16 sums of two products each, in 16 bits, saturated.
static inline void add_byte_products(__m256i& first, __m256i& second, __m256i a, __m256i b, const std::byte* row) {
  __m256i four, product;
  __asm__(
      "vpbroadcastd %[row], %[four]\n\t"
      "vpmaddubsw %[four], %[a], %[product]\n\t"
      "vpmaddubsw %[four], %[b], %[four]\n\t"
      "vpaddw %[product], %[first], %[first]\n\t"
      "vpaddw %[four], %[second], %[second]"
      : [first] "+x"(first), [second] "+x"(second), [four] "=&x"(four), [product] "=&x"(product)
      : [a] "x"(a), [b] "x"(b), [row] "m"(*reinterpret_cast<const FourBytes*>(row)));
}

// sums += words . the two words at `row`: 8 sums of two products each.
static inline void add_word_products(__m256i& first, __m256i& second, __m256i a, __m256i b, const std::byte* row) {
  __m256i two, product;
  __asm__(
      "vpbroadcastd %[row], %[two]\n\t"
      "vpmaddwd %[two], %[a], %[product]\n\t"
      "vpmaddwd %[two], %[b], %[two]\n\t"
      "vpaddd %[product], %[first], %[first]\n\t"
      "vpaddd %[two], %[second], %[second]"
      : [first] "+x"(first), [second] "+x"(second), [two] "=&x"(two), [product] "=&x"(product)
      : [a] "x"(a), [b] "x"(b), [row] "m"(*reinterpret_cast<const FourBytes*>(row)));
}

}  // namespace loci::simd_avx2
