#include "kernels/cpu/simd/vec16_avx512.h"
#include "kernels/cpu/turn/turn_vectors.h"

namespace loci::detail {
namespace {

using simd_avx512::Vec16;

// own * 1 + other in the lower lanes of each pair, own * -1 + other in the upper ones: one rounding either way.
__m512 butterfly(__m512 own, __m512 other, __mmask16 upper) {
  const __m512 one = _mm512_set1_ps(1.0F);
  return _mm512_fmadd_ps(own, _mm512_mask_sub_ps(one, upper, _mm512_setzero_ps(), one), other);
}

Vec16 turn_lanes(Vec16 x) {
  __m512 v = x.v;
  v = butterfly(v, _mm512_permute_ps(v, 0xb1), 0xaaaa);
  v = butterfly(v, _mm512_permute_ps(v, 0x4e), 0xcccc);
  v = butterfly(v, _mm512_shuffle_f32x4(v, v, 0xb1), 0xf0f0);
  v = butterfly(v, _mm512_shuffle_f32x4(v, v, 0x4e), 0xff00);
  return {v};
}

}  // namespace

void turn_row_avx512(const TurnShape& shape, float* x) { TurnVectors<Vec16, turn_lanes>::run(shape, x); }

}  // namespace loci::detail
