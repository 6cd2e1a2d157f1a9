// bfloat16 dot products: 32 products per vdpbf16ps.
#include "kernels/cpu/roof/roof.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>

namespace loci {
namespace {

constexpr int kChains = 16;  // accumulators: enough for a latency of 6
constexpr int kRepeat = 16;

uint64_t bf16_macs(size_t rounds, uint64_t seed) {
  const auto a = (__m512bh)_mm512_set1_epi16(0x3f00);  // 0.5
  const auto b = (__m512bh)_mm512_set1_epi16(static_cast<int16_t>(0x3f80 + seed % 7));
  __m512 sums[kChains];
  for (__m512& s : sums) s = _mm512_setzero_ps();
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (__m512& s : sums) s = _mm512_dpbf16_ps(s, a, b);
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  uint64_t words[8];
  _mm512_storeu_si512(words, _mm512_castps_si512(sums[0]));
  return words[0] + words[7];
}

}  // namespace

void detail::add_bf16_avx512(RoofKernels& kernels) {
  kernels.bf16_macs = bf16_macs;
  kernels.bf16_macs_per_round = uint64_t{32} * kChains * kRepeat;
}

}  // namespace loci

#else
namespace loci {
void detail::add_bf16_avx512(RoofKernels&) {}
}  // namespace loci
#endif
