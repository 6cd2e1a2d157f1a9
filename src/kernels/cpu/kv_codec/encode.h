// What writing keys alone and writing them with feedback have in common.
#pragma once

#include "base/half.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

inline constexpr float kFloatInteger = 12582912.0F;  // 1.5 * 2^23: a float of this size has no fraction

struct GroupScale {
  Half step;
  Half minimum;
};

// Of x [kCodeGroup], numbers within a half's range: the minimum rounded down, the step up.
GroupScale group_scale(const float* x, float levels);

// k [head_dim] as kv8 and kv4 code it: padded, rotated, within a half's range. key [padded_dim].
void rotate_key(const PageLayout& layout, const float* k, float* key);

}  // namespace loci
