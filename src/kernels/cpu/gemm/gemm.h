// The product of a tile: 1, 2 or 4 neighbouring panels of weights (16 outputs each) and one group of activation rows.
// src/ops/linear cuts matrices into these.
//
// Integer layouts, per output and block of columns in ascending k (per group of 16 columns where scales are that fine):
//     acc = fma(float(integer dot product), activation scale * weight scale, acc)
//     acc = fma(activation scale * sum of q, minimum, acc)          where the layout has minimums
// and acc * unit * activation step at the end; a block's activation scale is 1 but for rows that stick out.
//
// Exact layouts: acc = integer sum over all columns of integer weight * q, then float(acc) * unit * activation step. No
// sum leaves 32 bits below 2^16 columns.
//
// Float layouts: acc = fma(weight, x, acc) per column in ascending k. Integer dot products are exact (q has up to 16
// bits: 32 products stay below 2^31), so every kernel below gives the same bits on every instruction set, for every
// number of rows, and whether or not it skips high codes that are zero and scales that are 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "kernels/cpu/gemm/layout.h"

namespace loci {

inline constexpr uint32_t kTilePanels = 4;            // at most
inline constexpr uint32_t kMostExactColumns = 65535;  // of exact layouts: their sums stay within 32 bits

// Panels of the next tile when `remaining` >= 1 are left: 1, 2 and, in integer layouts, 4. One row of an integer
// layout, which memory bounds, reads one panel after the other: a single run of addresses.
constexpr uint32_t tile_panels(bool integer, uint32_t rows, size_t remaining) {
  if (integer && rows == 1) return 1;
  if (integer && remaining >= 4) return 4;
  return remaining >= 2 ? 2 : 1;
}

struct TileProduct {
  const std::byte* panel;  // the first; the others follow it
  uint32_t panels;         // as tile_panels gave it
  PanelShape shape;
  uint32_t columns;
  const std::byte* group;  // activations: a group of `rows` rows (quantize/activations.h)
  uint32_t rows;           // as group_rows gave it
  float* out;              // output 0 of row 0
  size_t out_stride;       // floats from one row's outputs to the next row's
  uint32_t outputs;        // rows of the panels that exist, 1 to 16 * panels
  // What will be read next and is in memory perhaps: tiles of several rows fetch so many cache lines of it per block of
  // columns. A hint; null: nothing.
  const std::byte* ahead;
  uint32_t ahead_lines;
};

using MultiplyTile = void (*)(const TileProduct& t);

// The kernel of a layout for an instruction set that this machine has. Groups of kTileGroupRows rows are for layouts of
// 8-bit codes; a product of so many rows widens the others first (widen.h).
MultiplyTile multiply_tile(WeightLayout layout, Isa isa);

namespace detail {
MultiplyTile multiply_tile_scalar(WeightLayout layout);
MultiplyTile multiply_exact_scalar(WeightLayout layout);
MultiplyTile multiply_exact_avx2(WeightLayout layout);
MultiplyTile multiply_exact_avx512(WeightLayout layout);
MultiplyTile multiply_tile_avx2(WeightLayout layout);
MultiplyTile multiply_tile_avx512(WeightLayout layout);
MultiplyTile multiply_tile_amx(WeightLayout layout);
}  // namespace detail

}  // namespace loci
