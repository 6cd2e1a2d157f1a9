#include "kernels/cpu/simd/vec16_avx2.h"
#include "kernels/cpu/turn/turn_vectors.h"

namespace loci::detail {
namespace {

using simd_avx2::Vec16;

// Lanes of `kUpper` become other - own, the rest own + other.
template <int kUpper>
__m256 butterfly(__m256 own, __m256 other) {
  return _mm256_blend_ps(_mm256_add_ps(own, other), _mm256_sub_ps(other, own), kUpper);
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

void turn_row_avx2(const TurnShape& shape, float* x) { turn_row_in_vectors<Vec16, turn_lanes>(shape, x); }

}  // namespace loci::detail
