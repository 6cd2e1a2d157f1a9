// The product of one panel of weights and one group of activation rows: 16 outputs for up to 12 rows. src/ops/linear
// cuts matrices into these.
//
// Integer layouts, per output and block of columns in ascending k (per group of 16 columns where scales are that fine):
//     acc = fma(float(integer dot product), activation scale * weight scale, acc)
//     acc = fma(activation scale * sum of q, minimum, acc)          where the layout has minimums
// and acc * unit at the end. Float layouts: acc = fma(weight, x, acc) per column in ascending k. Integer dot products
// are exact, so every kernel below gives the same bits on every instruction set and for every number of rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/cpu/gemm/layout.h"

namespace loci {

struct PanelProduct {
  const std::byte* panel;
  PanelShape shape;
  uint32_t columns;
  const std::byte* group;  // activations: a group of `rows` rows (quantize/activations.h)
  uint32_t rows;           // as group_rows gave it
  float* out;              // output 0 of row 0
  size_t out_stride;       // floats from one row's outputs to the next row's
  uint32_t outputs;        // rows of the panel that exist, 1 to 16
};

using MultiplyPanel = void (*)(const PanelProduct& p);

// The kernel of a layout for an instruction set that this machine has.
MultiplyPanel multiply_panel(WeightLayout layout, Isa isa);

namespace detail {
MultiplyPanel multiply_panel_scalar(WeightLayout layout);
MultiplyPanel multiply_panel_avx2(WeightLayout layout);
MultiplyPanel multiply_panel_avx512(WeightLayout layout);
}  // namespace detail

}  // namespace loci
