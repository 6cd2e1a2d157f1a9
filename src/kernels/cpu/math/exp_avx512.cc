#include "kernels/cpu/math/exp_avx512.h"

#include "kernels/cpu/math/exp.h"

namespace loci::detail {

void exp_row_avx512(const float* x, size_t count, float* out) {
  for (size_t i = 0; i < count; i += 16) {
    const auto exist = static_cast<__mmask16>(count - i >= 16 ? 0xffff : (1u << (count - i)) - 1);
    _mm512_mask_storeu_ps(out + i, exist, exp_avx512(_mm512_maskz_loadu_ps(exist, x + i)));
  }
}

}  // namespace loci::detail
