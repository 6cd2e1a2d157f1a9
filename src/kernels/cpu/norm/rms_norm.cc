#include "kernels/cpu/norm/rms_norm.h"

#include <cmath>

namespace loci {

void detail::rms_norm_row_scalar(const float* x, const float* weight, float eps, size_t width, float* out) {
  float lanes[16] = {};
  for (size_t i = 0; i < width; ++i) lanes[i % 16] = std::fma(x[i], x[i], lanes[i % 16]);
  for (size_t n = 8; n > 0; n /= 2) {
    for (size_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  }
  const float factor = 1.0F / std::sqrt(lanes[0] / static_cast<float>(width) + eps);
  for (size_t i = 0; i < width; ++i) out[i] = x[i] * factor * weight[i];
}

RmsNormRow rms_norm_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::rms_norm_row_avx512;
  if (isa == Isa::kAvx2) return detail::rms_norm_row_avx2;
#endif
  (void)isa;
  return detail::rms_norm_row_scalar;
}

}  // namespace loci
