#include "kernels/cpu/activation/gated.h"
#include "kernels/cpu/math/exp_avx512.h"

namespace loci::detail {
namespace {

inline __m512 negate(__m512 v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0F)); }

// v / (1 + exp(-u)) * up
inline __m512 gated(__m512 v, __m512 u, __m512 up) {
  return _mm512_mul_ps(_mm512_div_ps(v, _mm512_add_ps(_mm512_set1_ps(1.0F), exp_avx512(negate(u)))), up);
}

struct Silu {
  static __m512 exponent(__m512 v) { return v; }
};
struct GeluTanh {
  static __m512 exponent(__m512 v) {
    const __m512 square = _mm512_mul_ps(v, v);
    return _mm512_mul_ps(v, _mm512_fmadd_ps(square, _mm512_set1_ps(kGeluCubic), _mm512_set1_ps(kGeluLinear)));
  }
};

template <typename F>
void gated_row(const float* gate, const float* up, size_t width, float* out) {
  for (size_t i = 0; i < width; i += 16) {
    const auto exist = static_cast<__mmask16>(width - i >= 16 ? 0xffff : (1u << (width - i)) - 1);
    const __m512 v = _mm512_maskz_loadu_ps(exist, gate + i);
    const __m512 y = gated(v, F::exponent(v), _mm512_maskz_loadu_ps(exist, up + i));
    _mm512_mask_storeu_ps(out + i, exist, y);
  }
}

}  // namespace

void silu_mul_row_avx512(const float* gate, const float* up, size_t width, float* out) {
  gated_row<Silu>(gate, up, width, out);
}

void gelu_tanh_mul_row_avx512(const float* gate, const float* up, size_t width, float* out) {
  gated_row<GeluTanh>(gate, up, width, out);
}

}  // namespace loci::detail
