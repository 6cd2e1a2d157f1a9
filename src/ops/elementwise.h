// Operations on every number of some rows. All rows of a call have the same count and width.
#pragma once

#include <span>

#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// out = silu(gate) * up, silu(v) = v / (1 + exp(-v)). `out` may be `gate` or `up`.
void silu_mul(OpContext& context, const Rows& gate, const Rows& up, Rows out);
// out = gelu(gate) * up with the tanh form of gelu. `out` may be `gate` or `up`.
void gelu_tanh_mul(OpContext& context, const Rows& gate, const Rows& up, Rows out);
// x += y
void add(OpContext& context, Rows x, const Rows& y);
// x *= factor
void scale(OpContext& context, Rows x, float factor);
// x[r] += bias for every row r
void add_bias(OpContext& context, Rows x, std::span<const float> bias);

}  // namespace loci
