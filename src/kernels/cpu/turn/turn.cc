#include "kernels/cpu/turn/turn.h"

#include <cmath>

namespace loci {

void detail::turn_row_scalar(const TurnShape& shape, float* x) {
  const uint32_t width = shape.powers * shape.odd;
  for (uint32_t half = 1; half < shape.powers; half *= 2) {
    for (uint32_t first = 0; first < width; first += 2 * half) {
      for (uint32_t i = first; i < first + half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  float column[kMostTurnBlocks];
  for (uint32_t i = 0; i < shape.powers; ++i) {
    for (uint32_t j = 0; j < shape.odd; ++j) column[j] = x[j * shape.powers + i];
    for (uint32_t k = 0; k < shape.odd; ++k) {
      const float* small = shape.small + k * shape.odd;
      float sum = column[0] * small[0];
      for (uint32_t j = 1; j < shape.odd; ++j) sum = std::fma(column[j], small[j], sum);
      x[k * shape.powers + i] = sum;
    }
  }
}

TurnRow turn_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::turn_row_avx512;
  if (isa == Isa::kAvx2) return detail::turn_row_avx2;
#endif
  (void)isa;
  return detail::turn_row_scalar;
}

}  // namespace loci
