#include "kernels/cpu/kv_codec/hadamard.h"

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

namespace {

// One level of the transform: x[i] and x[i + kHalf] become their sum and their difference.
template <uint32_t kHalf>
void butterflies(float* group) {
  for (uint32_t first = 0; first < kCodeGroup; first += 2 * kHalf) {
    for (uint32_t i = first; i < first + kHalf; ++i) {
      const float a = group[i], b = group[i + kHalf];
      group[i] = a + b;
      group[i + kHalf] = a - b;
    }
  }
}

// The two levels within four neighbours, in a form of which compilers make vector code.
void butterflies_of_four(float* group) {
  for (uint32_t i = 0; i < kCodeGroup; i += 4) {
    const float a = group[i] + group[i + 1], b = group[i] - group[i + 1];
    const float c = group[i + 2] + group[i + 3], d = group[i + 2] - group[i + 3];
    group[i] = a + c;
    group[i + 1] = b + d;
    group[i + 2] = a - c;
    group[i + 3] = b - d;
  }
}

}  // namespace

void rotate_groups(float* x, size_t dims) {
  for (float* group = x; group < x + dims; group += kCodeGroup) {
    butterflies_of_four(group);
    butterflies<4>(group);
    butterflies<8>(group);
    butterflies<16>(group);
    for (uint32_t i = 0; i < kCodeGroup; ++i) group[i] *= kGroupNormal;
  }
}

}  // namespace loci
