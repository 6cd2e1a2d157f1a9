#include "kernels/cpu/simd/vec16_avx2.h"
#include "kernels/cpu/turn/turn_vectors.h"

namespace loci::detail {
namespace {

using simd_avx2::Vec16;

// own * 1 + other in the lower lanes of each pair, own * -1 + other in `kUpper`: one rounding either way.
template <int kUpper>
__m256 butterfly(__m256 own, __m256 other) {
  const __m256 sign = _mm256_blend_ps(_mm256_set1_ps(1.0F), _mm256_set1_ps(-1.0F), kUpper);
  return _mm256_fmadd_ps(own, sign, other);
}

__m256 turn_eight(__m256 v) {
  v = butterfly<0xaa>(v, _mm256_permute_ps(v, 0xb1));
  v = butterfly<0xcc>(v, _mm256_permute_ps(v, 0x4e));
  return butterfly<0xf0>(v, _mm256_permute2f128_ps(v, v, 0x01));
}

Vec16 turn_lanes(Vec16 x) {
  const __m256 low = turn_eight(x.low), high = turn_eight(x.high);
  return {_mm256_add_ps(low, high), _mm256_sub_ps(low, high)};
}

}  // namespace

void turn_row_avx2(const TurnShape& shape, float* x) { TurnVectors<Vec16, turn_lanes>::run(shape, x); }

}  // namespace loci::detail
