#include "kernels/cpu/math/exp.h"

#include "kernels/cpu/math/exp_scalar.h"

namespace loci {

void detail::exp_row_scalar(const float* x, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = exp_scalar(x[i]);
}

ExpRow exp_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::exp_row_avx512;
  if (isa == Isa::kAvx2) return detail::exp_row_avx2;
#endif
  (void)isa;
  return detail::exp_row_scalar;
}

}  // namespace loci
