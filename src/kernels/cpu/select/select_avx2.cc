#include <immintrin.h>

#include "kernels/cpu/select/float_loops.h"
#include "kernels/cpu/simd/vec16_avx2.h"

namespace loci {
namespace {

__m256i keys_of(const float* x) {
  const __m256 v = _mm256_add_ps(_mm256_loadu_ps(x), _mm256_setzero_ps());  // -0 becomes 0
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i negative = _mm256_srai_epi32(bits, 31);
  const __m256i flip = _mm256_or_si256(negative, _mm256_set1_epi32(INT32_MIN));
  const __m256i number = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_ORD_Q));
  return _mm256_and_si256(_mm256_xor_si256(bits, flip), number);
}

unsigned lanes_set(__m256i mask) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask))); }

void count_keys(const float* x, size_t count, uint32_t prefix, int above, int shift, uint32_t mask, uint32_t* bins) {
  size_t i = 0;
  const __m128i above_count = _mm_cvtsi32_si128(above);
  const __m256i wanted = _mm256_srl_epi32(_mm256_set1_epi32(static_cast<int>(prefix)), above_count);
  alignas(32) uint32_t keys[8];
  for (; i + 8 <= count; i += 8) {
    const __m256i key = keys_of(x + i);
    // A shift by 32 leaves 0 on both sides.
    unsigned here = lanes_set(_mm256_cmpeq_epi32(_mm256_srl_epi32(key, above_count), wanted));
    if (here == 0) continue;
    _mm256_store_si256(reinterpret_cast<__m256i*>(keys), key);
    for (; here != 0; here &= here - 1) {
      const unsigned lane = static_cast<unsigned>(std::countr_zero(here));
      ++bins[lane % kBinCopies * (size_t{mask} + 1) + ((keys[lane] >> shift) & mask)];
    }
  }
  detail::kSelectScalar.count_keys(x + i, count - i, prefix, above, shift, mask, bins);
}

size_t collect(const float* x, size_t count, uint32_t first, Cut& cut, uint32_t* out) {
  // Unsigned order through signed compares.
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);
  const __m256i bound = _mm256_set1_epi32(static_cast<int>(cut.key));
  size_t taken = 0, i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256i key = keys_of(x + i);
    unsigned here = lanes_set(_mm256_cmpgt_epi32(_mm256_xor_si256(key, sign), _mm256_xor_si256(bound, sign)));
    unsigned equal = lanes_set(_mm256_cmpeq_epi32(key, bound));
    for (; equal != 0 && cut.ties > 0; equal &= equal - 1, --cut.ties) here |= equal & (0u - equal);
    for (; here != 0; here &= here - 1) {
      out[taken++] = first + static_cast<uint32_t>(i) + static_cast<uint32_t>(std::countr_zero(here));
    }
  }
  return taken + detail::kSelectScalar.collect(x + i, count - i, first + static_cast<uint32_t>(i), cut, out + taken);
}

void mark_at_least(const float* x, size_t count, float threshold, uint64_t* words) {
  const __m256 bound = _mm256_set1_ps(threshold);
  size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    uint64_t word = 0;
    for (size_t j = 0; j < 64; j += 8) {
      const __m256 at_least = _mm256_cmp_ps(_mm256_loadu_ps(x + i + j), bound, _CMP_GE_OQ);
      word |= uint64_t{static_cast<unsigned>(_mm256_movemask_ps(at_least))} << j;
    }
    words[i / 64] = word;
  }
  if (i < count) detail::kSelectScalar.mark_at_least(x + i, count - i, threshold, words + i / 64);
}

using Loops = FloatLoops<simd_avx2::Vec16, 6, 1>;

}  // namespace

const SelectKernels detail::kSelectAvx2 = select_table<Loops>(count_keys, collect, mark_at_least);

}  // namespace loci
