#include <immintrin.h>

#include "kernels/cpu/select/float_loops.h"
#include "kernels/cpu/simd/vec16_avx512.h"

namespace loci {
namespace {

__mmask16 lanes(size_t left) { return static_cast<__mmask16>(left >= 16 ? 0xffffu : (1u << left) - 1u); }

__m512i keys_of(__m512 x) {
  const __m512 v = _mm512_add_ps(x, _mm512_setzero_ps());  // -0 becomes 0
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i flip = _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(INT32_MIN));
  return _mm512_maskz_xor_epi32(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), bits, flip);
}

void count_keys(const float* x, size_t count, uint32_t prefix, int above, int shift, uint32_t mask, uint32_t* bins) {
  const __m128i above_count = _mm_cvtsi32_si128(above);
  const __m512i wanted = _mm512_srl_epi32(_mm512_set1_epi32(static_cast<int>(prefix)), above_count);
  const __m128i shift_count = _mm_cvtsi32_si128(shift);
  const __m512i low = _mm512_set1_epi32(static_cast<int>(mask));
  alignas(64) uint32_t bin[16];
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 exist = lanes(count - i);
    const __m512i key = keys_of(_mm512_maskz_loadu_ps(exist, x + i));
    // A shift by 32 leaves 0 on both sides.
    const __mmask16 here = _mm512_mask_cmpeq_epi32_mask(exist, _mm512_srl_epi32(key, above_count), wanted);
    if (here == 0) continue;
    _mm512_store_si512(bin, _mm512_and_si512(_mm512_srl_epi32(key, shift_count), low));
    for (unsigned left = here; left != 0; left &= left - 1) {
      const unsigned lane = static_cast<unsigned>(std::countr_zero(left));
      ++bins[lane % kBinCopies * (size_t{mask} + 1) + bin[lane]];
    }
  }
}

size_t collect(const float* x, size_t count, uint32_t first, Cut& cut, uint32_t* out) {
  const __m512i bound = _mm512_set1_epi32(static_cast<int>(cut.key));
  const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  size_t taken = 0;
  for (size_t i = 0; i < count; i += 16) {
    const __mmask16 exist = lanes(count - i);
    const __m512i key = keys_of(_mm512_maskz_loadu_ps(exist, x + i));
    unsigned here = _mm512_mask_cmpgt_epu32_mask(exist, key, bound);
    unsigned equal = _mm512_mask_cmpeq_epi32_mask(exist, key, bound);
    for (; equal != 0 && cut.ties > 0; equal &= equal - 1, --cut.ties) here |= equal & (0u - equal);
    if (here == 0) continue;
    const __m512i at = _mm512_add_epi32(order, _mm512_set1_epi32(static_cast<int>(first + static_cast<uint32_t>(i))));
    const unsigned found = static_cast<unsigned>(std::popcount(here));
    // Packing in a register and a masked store are several times faster than a compressing store.
    _mm512_mask_storeu_epi32(out + taken, lanes(found), _mm512_maskz_compress_epi32(static_cast<__mmask16>(here), at));
    taken += found;
  }
  return taken;
}

void mark_at_least(const float* x, size_t count, float threshold, uint64_t* words) {
  const __m512 bound = _mm512_set1_ps(threshold);
  for (size_t i = 0; i < count; i += 64) {
    uint64_t word = 0;
    for (size_t j = 0; j < 64 && i + j < count; j += 16) {
      const __mmask16 exist = lanes(count - i - j);
      word |= uint64_t{_mm512_mask_cmp_ps_mask(exist, _mm512_maskz_loadu_ps(exist, x + i + j), bound, _CMP_GE_OQ)} << j;
    }
    words[i / 64] = word;
  }
}

using Loops = FloatLoops<simd_avx512::Vec16, simd_avx512::kTileRows, simd_avx512::kTileVectors>;

}  // namespace

const SelectKernels detail::kSelectAvx512 = select_table<Loops>(count_keys, collect, mark_at_least);

}  // namespace loci
