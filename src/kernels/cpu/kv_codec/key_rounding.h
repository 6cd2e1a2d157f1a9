// Rounding keys to codes so that scores come out right rather than numbers.
//
// A score is off by q.e, e being what rounding puts a key off by. Dimensions are rounded one after the other, and what
// one is off by is taken out of the later ones of its group, in the shares that make up for it under queries as
// calibration met them: GPTQ's rounding (arXiv:2210.17323, section 3) with keys for weights and queries for inputs.
// Shares come with a calibrated model (`attn_k.feedback`); without them each number is rounded by itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// Keys that are rounded side by side. Each is rounded as it would be alone.
inline constexpr uint32_t kKeyLanes = 8;

// One group of the keys: numbers by dimension, their steps (0: all numbers are the minimum) and minimums.
struct KeyGroup {
  float numbers[kCodeGroup][kKeyLanes];
  float steps[kKeyLanes];
  float minimums[kKeyLanes];
};

// Numbers that a layer's feedback of one KV head has.
constexpr size_t feedback_size(uint32_t padded_dim) { return size_t{padded_dim} * kCodeGroup; }

// 4-bit codes of the group's numbers, which change. feedback [kCodeGroup][kCodeGroup]: row d has what of an error of
// dimension d each later one takes up; what stands at d and before is not read. Whatever the feedback holds, codes are
// 0 to 15. The same operations in the same order on every instruction set.
void round_keys(KeyGroup& group, const float* feedback, uint8_t (*codes)[kKeyLanes]);

}  // namespace loci
