#include "kernels/cpu/activation/gated.h"

#include <cmath>

#include "kernels/cpu/math/exp_scalar.h"

namespace loci {
namespace detail {

void silu_mul_row_scalar(const float* gate, const float* up, size_t width, float* out) {
  for (size_t i = 0; i < width; ++i) out[i] = gate[i] / (1.0F + exp_scalar(-gate[i])) * up[i];
}

void gelu_tanh_mul_row_scalar(const float* gate, const float* up, size_t width, float* out) {
  for (size_t i = 0; i < width; ++i) {
    const float v = gate[i];
    const float u = v * std::fma(v * v, kGeluCubic, kGeluLinear);
    out[i] = v / (1.0F + exp_scalar(-u)) * up[i];
  }
}

}  // namespace detail

GatedRow silu_mul_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::silu_mul_row_avx512;
  if (isa == Isa::kAvx2) return detail::silu_mul_row_avx2;
#endif
  (void)isa;
  return detail::silu_mul_row_scalar;
}

GatedRow gelu_tanh_mul_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::gelu_tanh_mul_row_avx512;
  if (isa == Isa::kAvx2) return detail::gelu_tanh_mul_row_avx2;
#endif
  (void)isa;
  return detail::gelu_tanh_mul_row_scalar;
}

}  // namespace loci
