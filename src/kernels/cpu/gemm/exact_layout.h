// The exact layouts by what their kernels are made for. Only gemm_exact*.cc files include it.
#pragma once

#include "base/assert.h"
#include "kernels/cpu/gemm/gemm.h"

namespace loci {

// `Product<bits, group>::multiply`, where group 0 is a step and a zero per row.
template <template <int kBits, int kGroup> typename Product>
MultiplyTile exact_product(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW4Row:
      return Product<4, 0>::multiply;
    case WeightLayout::kW4G32:
      return Product<4, 32>::multiply;
    case WeightLayout::kW4G64:
      return Product<4, 64>::multiply;
    case WeightLayout::kW4G128:
      return Product<4, 128>::multiply;
    case WeightLayout::kW8Row:
      return Product<8, 0>::multiply;
    default:
      LOCI_ASSERT(false, "an exact layout");
  }
}

}  // namespace loci
