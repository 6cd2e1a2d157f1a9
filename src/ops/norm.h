// Root-mean-square normalisation. Row-local, one order of summation on every instruction set.
#pragma once

#include <span>

#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight. `x` and `out` may be the same rows; weight.size() is their width.
// Heads are normalised by passing rows of width head_dim.
void rms_norm(OpContext& context, const Rows& x, std::span<const float> weight, float eps, Rows out);

}  // namespace loci
