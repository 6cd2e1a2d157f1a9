// AVX2: 32 int8 products per maddubs + madd + add, 16 of 16 bits per madd + add, 8 fp32 multiply-adds per FMA.
#include "kernels/cpu/roof/roof.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace loci {
namespace {

constexpr int kChains =
    8;  // accumulators of the integer loop: its three steps and two factors need the other registers
constexpr int kFloats = 12;  // accumulators of the float loop: latency 4 or 5, two a cycle
constexpr int kRepeat = 16;

uint64_t fold(__m256i v) {
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(half)) + static_cast<uint64_t>(_mm_extract_epi64(half, 1));
}

uint64_t read(const std::byte* data, size_t bytes) {
  __m256i sums[8];
  for (__m256i& s : sums) s = _mm256_setzero_si256();
  for (size_t i = 0; i < bytes; i += 8 * 32) {
    for (int j = 0; j < 8; ++j) {
      sums[j] = _mm256_xor_si256(sums[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + j * 32)));
    }
  }
  for (int j = 1; j < 8; ++j) sums[0] = _mm256_xor_si256(sums[0], sums[j]);
  return fold(sums[0]);
}

uint64_t int8_dots(size_t rounds, uint64_t seed) {
  const __m256i a = _mm256_set1_epi8(static_cast<char>(seed % 100));
  const __m256i b = _mm256_set1_epi8(static_cast<char>(seed % 50));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[kChains];
  for (__m256i& s : sums) s = _mm256_setzero_si256();
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (int j = 0; j < kChains; ++j) {
        __m256i factor = b;
        __asm__ volatile("" : "+x"(factor));  // a new value each time, as far as the compiler knows
        sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(_mm256_maddubs_epi16(a, factor), ones));
      }
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] = _mm256_add_epi32(sums[0], sums[j]);
  return fold(sums[0]);
}

uint64_t int16_macs(size_t rounds, uint64_t seed) {
  const __m256i a = _mm256_set1_epi16(static_cast<int16_t>(seed % 100));
  const __m256i b = _mm256_set1_epi16(static_cast<int16_t>(seed % 50));
  __m256i sums[kChains];
  for (__m256i& s : sums) s = _mm256_setzero_si256();
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (__m256i& s : sums) {
        __m256i factor = b;
        __asm__ volatile("" : "+x"(factor));  // a new value each time, as far as the compiler knows
        s = _mm256_add_epi32(s, _mm256_madd_epi16(a, factor));
      }
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] = _mm256_add_epi32(sums[0], sums[j]);
  return fold(sums[0]);
}

uint64_t f32_macs(size_t rounds, uint64_t seed) {
  const __m256 a = _mm256_set1_ps(0.5F);
  const __m256 b = _mm256_set1_ps(1.0F + static_cast<float>(seed % 7));
  __m256 sums[kFloats];
  for (__m256& s : sums) s = b;
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (__m256& s : sums) s = _mm256_fmadd_ps(s, a, b);
    }
  }
  for (int j = 1; j < kFloats; ++j) sums[0] = _mm256_add_ps(sums[0], sums[j]);
  return fold(_mm256_castps_si256(sums[0]));
}

}  // namespace

RoofKernels roof_kernels_avx2() {
  return {.read = read,
          .int8_dots = int8_dots,
          .int8_macs_per_round = uint64_t{32} * kChains * kRepeat,
          .f32_macs = f32_macs,
          .f32_macs_per_round = uint64_t{8} * kFloats * kRepeat,
          .int16_macs = int16_macs,
          .int16_macs_per_round = uint64_t{16} * kChains * kRepeat};
}

}  // namespace loci

#else
namespace loci {
RoofKernels roof_kernels_avx2() { return roof_kernels_scalar(); }
}  // namespace loci
#endif
