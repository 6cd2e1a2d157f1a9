#include "kernels/cpu/kv_codec/hadamard.h"

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

void rotate_groups(float* x, size_t dims) {
  constexpr float kNormal = 0.17677669529663687F;  // 1 / sqrt(32)
  for (float* group = x; group < x + dims; group += kCodeGroup) {
    for (uint32_t half = 1; half < kCodeGroup; half *= 2) {
      for (uint32_t first = 0; first < kCodeGroup; first += 2 * half) {
        for (uint32_t i = first; i < first + half; ++i) {
          const float a = group[i];
          const float b = group[i + half];
          group[i] = a + b;
          group[i + half] = a - b;
        }
      }
    }
    for (uint32_t i = 0; i < kCodeGroup; ++i) group[i] *= kNormal;
  }
}

}  // namespace loci
