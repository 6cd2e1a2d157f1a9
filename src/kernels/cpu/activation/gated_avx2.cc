#include <algorithm>

#include "kernels/cpu/activation/gated.h"
#include "kernels/cpu/math/exp_avx2.h"

namespace loci::detail {
namespace {

inline __m256 negate(__m256 v) { return _mm256_xor_ps(v, _mm256_set1_ps(-0.0F)); }

// v / (1 + exp(-u)) * up
inline __m256 gated(__m256 v, __m256 u, __m256 up) {
  return _mm256_mul_ps(_mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0F), exp_avx2(negate(u)))), up);
}

struct Silu {
  static __m256 exponent(__m256 v) { return v; }
};
struct GeluTanh {
  static __m256 exponent(__m256 v) {
    const __m256 square = _mm256_mul_ps(v, v);
    return _mm256_mul_ps(v, _mm256_fmadd_ps(square, _mm256_set1_ps(kGeluCubic), _mm256_set1_ps(kGeluLinear)));
  }
};

template <typename F>
void gated_row(const float* gate, const float* up, size_t width, float* out) {
  size_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const __m256 v = _mm256_loadu_ps(gate + i);
    _mm256_storeu_ps(out + i, gated(v, F::exponent(v), _mm256_loadu_ps(up + i)));
  }
  if (i == width) return;
  float tail_gate[8] = {}, tail_up[8] = {};
  std::copy(gate + i, gate + width, tail_gate);
  std::copy(up + i, up + width, tail_up);
  const __m256 v = _mm256_loadu_ps(tail_gate);
  _mm256_storeu_ps(tail_gate, gated(v, F::exponent(v), _mm256_loadu_ps(tail_up)));
  std::copy(tail_gate, tail_gate + (width - i), out + i);
}

}  // namespace

void silu_mul_row_avx2(const float* gate, const float* up, size_t width, float* out) {
  gated_row<Silu>(gate, up, width, out);
}

void gelu_tanh_mul_row_avx2(const float* gate, const float* up, size_t width, float* out) {
  gated_row<GeluTanh>(gate, up, width, out);
}

}  // namespace loci::detail
