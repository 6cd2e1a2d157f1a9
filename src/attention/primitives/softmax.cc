#include "attention/primitives/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/select/select_kernels.h"

namespace loci {

void softmax(OpContext& context, Rows x, Lengths lengths, std::span<float> lse) {
  const SelectKernels& kernels = select_kernels(context.isa);
  context.pool.parallel_for(x.rows, [&](size_t r, int) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    float* row = x.data + r * x.stride;
    const uint32_t length = length_of(lengths, r, x.width);
    const float most = kernels.largest(row, length);
    if (most == kNone) {
      std::fill(row, row + x.width, 0.0F);
      if (!lse.empty()) lse[r] = kNone;
      return;
    }
    const float total = kernels.exp_sum(row, length, most, row);
    kernels.scale(row, length, 1.0F / total);
    std::fill(row + length, row + x.width, 0.0F);
    if (!lse.empty()) lse[r] = most + std::log(total);
  });
}

}  // namespace loci
