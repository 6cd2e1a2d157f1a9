// Groups of key dimensions side by side: the same code for every instruction set, of which compilers make vector code.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cpu/kv_codec/encode.h"
#include "kernels/cpu/kv_codec/key_rounding.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci::detail {

// The same groups of some entries: numbers by dimension, their steps (0: all numbers are the minimum) and minimums, and
// the codes that come out.
template <uint32_t kEntries>
struct KeyLanes {
  alignas(32) float numbers[kCodeGroup][kEntries][kKeyLanes];
  alignas(32) float steps[kEntries][kKeyLanes];
  alignas(32) float minimums[kEntries][kKeyLanes];
  alignas(32) int32_t codes[kCodeGroup][kEntries][kKeyLanes];
};

// shares: KeyFeedback::lanes().
void round_lanes_scalar(KeyLanes<1>& lanes, const float* shares);
void round_lanes_scalar(KeyLanes<kKeyEntries>& lanes, const float* shares);
void round_lanes_avx2(KeyLanes<1>& lanes, const float* shares);
void round_lanes_avx2(KeyLanes<kKeyEntries>& lanes, const float* shares);

// Each dimension waits for the one before, so that some entries take little longer than one. Static, so that no
// instruction set gets the code of another; loops over lanes have neither branches nor calls.
template <uint32_t kEntries>
static inline void round_lanes(KeyLanes<kEntries>& lanes, const float* shares) {
  constexpr float kHighest = 15.0F;
  float divisors[kEntries][kKeyLanes];
  for (uint32_t e = 0; e < kEntries; ++e) {
    for (uint32_t lane = 0; lane < kKeyLanes; ++lane)
      divisors[e][lane] = lanes.steps[e][lane] > 0 ? lanes.steps[e][lane] : 1.0F;
  }
  for (uint32_t d = 0; d < kCodeGroup; ++d) {
    float off[kEntries][kKeyLanes];
    for (uint32_t e = 0; e < kEntries; ++e) {
      for (uint32_t lane = 0; lane < kKeyLanes; ++lane) {
        const float x = lanes.numbers[d][e][lane];
        const float code = (x - lanes.minimums[e][lane]) / divisors[e][lane];
        const float above = code > 0 ? code : 0.0F;  // NaN becomes 0
        const float sum = (above < kHighest ? above : kHighest) + kFloatInteger;
        lanes.codes[d][e][lane] = std::bit_cast<int32_t>(sum) - std::bit_cast<int32_t>(kFloatInteger);
        off[e][lane] = x - ((sum - kFloatInteger) * lanes.steps[e][lane] + lanes.minimums[e][lane]);
      }
    }
    for (uint32_t later = d + 1; later < kCodeGroup; ++later, shares += kKeyLanes) {
      for (uint32_t e = 0; e < kEntries; ++e) {
        for (uint32_t lane = 0; lane < kKeyLanes; ++lane) lanes.numbers[later][e][lane] -= off[e][lane] * shares[lane];
      }
    }
  }
}

}  // namespace loci::detail
