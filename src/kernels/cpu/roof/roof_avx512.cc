// AVX-512 with VNNI: 64 int8 products per vpdpbusd, 16 fp32 multiply-adds per FMA.
#include "kernels/cpu/roof/roof.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

namespace loci {
namespace {

constexpr int kChains = 16;  // accumulators: latency 4 or 5, two a cycle, with room to spare
constexpr int kRepeat = 16;

// Through memory: g++ 12 warns about its own reduction intrinsics.
uint64_t fold(__m512i v) {
  uint64_t words[8];
  _mm512_storeu_si512(words, v);
  return words[0] + words[1] + words[2] + words[3] + words[4] + words[5] + words[6] + words[7];
}

uint64_t read(const std::byte* data, size_t bytes) {
  __m512i sums[8];
  for (__m512i& s : sums) s = _mm512_setzero_si512();
  for (size_t i = 0; i < bytes; i += 8 * 64) {
    for (int j = 0; j < 8; ++j) sums[j] = _mm512_xor_si512(sums[j], _mm512_loadu_si512(data + i + j * 64));
  }
  for (int j = 1; j < 8; ++j) sums[0] = _mm512_xor_si512(sums[0], sums[j]);
  return fold(sums[0]);
}

uint64_t int8_dots(size_t rounds, uint64_t seed) {
  const __m512i a = _mm512_set1_epi8(static_cast<char>(seed % 100));
  const __m512i b = _mm512_set1_epi8(static_cast<char>(seed % 50));
  __m512i sums[kChains];
  for (__m512i& s : sums) s = _mm512_setzero_si512();
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (__m512i& s : sums) s = _mm512_dpbusd_epi32(s, a, b);
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] = _mm512_add_epi32(sums[0], sums[j]);
  return fold(sums[0]);
}

uint64_t f32_macs(size_t rounds, uint64_t seed) {
  const __m512 a = _mm512_set1_ps(0.5F);
  const __m512 b = _mm512_set1_ps(1.0F + static_cast<float>(seed % 7));
  __m512 sums[kChains];
  for (__m512& s : sums) s = b;
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (__m512& s : sums) s = _mm512_fmadd_ps(s, a, b);
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  return fold(_mm512_castps_si512(sums[0]));
}

}  // namespace

RoofKernels roof_kernels_avx512() {
  return {.read = read,
          .int8_dots = int8_dots,
          .int8_macs_per_round = uint64_t{64} * kChains * kRepeat,
          .f32_macs = f32_macs,
          .f32_macs_per_round = uint64_t{16} * kChains * kRepeat};
}

}  // namespace loci

#else
namespace loci {
RoofKernels roof_kernels_avx512() { return roof_kernels_scalar(); }
}  // namespace loci
#endif
