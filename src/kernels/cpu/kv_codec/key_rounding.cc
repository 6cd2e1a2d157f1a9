#include "kernels/cpu/kv_codec/key_rounding.h"

#include <bit>

namespace loci {

// Loops over lanes have neither branches nor calls, so that compilers make vector code of them.
void round_keys(KeyGroup& group, const float* feedback, uint8_t (*codes)[kKeyLanes]) {
  constexpr float kInteger = 12582912.0F;  // 1.5 * 2^23: a float of this size has no fraction
  constexpr float kHighest = 15.0F;
  float divisors[kKeyLanes];
  for (uint32_t lane = 0; lane < kKeyLanes; ++lane) divisors[lane] = group.steps[lane] > 0 ? group.steps[lane] : 1.0F;
  for (uint32_t d = 0; d < kCodeGroup; ++d) {
    float off[kKeyLanes];
    for (uint32_t lane = 0; lane < kKeyLanes; ++lane) {
      const float x = group.numbers[d][lane];
      const float share = (x - group.minimums[lane]) / divisors[lane];
      const float above = share > 0 ? share : 0.0F;  // NaN becomes 0
      const float sum = (above < kHighest ? above : kHighest) + kInteger;
      codes[d][lane] = static_cast<uint8_t>(std::bit_cast<int32_t>(sum) - std::bit_cast<int32_t>(kInteger));
      off[lane] = x - ((sum - kInteger) * group.steps[lane] + group.minimums[lane]);
    }
    const float* shares = feedback + size_t{d} * kCodeGroup;
    for (uint32_t later = d + 1; later < kCodeGroup; ++later) {
      for (uint32_t lane = 0; lane < kKeyLanes; ++lane) group.numbers[later][lane] -= off[lane] * shares[later];
    }
  }
}

}  // namespace loci
