// How weights lie in memory after packing.
//
// Output rows are packed in panels of 16, so that a vector of 16 numbers is 16 outputs and each output is one chain of
// additions over ascending k. Rows are padded with zeros to whole panels. A panel begins on 64 bytes.
//
// Integer layouts (columns are a multiple of 32). A panel holds
//     units   16 x fp32, a power of two per row: what the row's result is multiplied with at the end
// then, per block of 32 columns, so that a product reads one ascending stream,
//     codes   8-bit layouts 8 vectors of 64 bytes; vector j, byte 4 r + i is row r, column 4 j + i.
//             4-bit layouts 4 vectors; vector j holds columns 4 j + i in the low nibbles, 16 + 4 j + i in the high ones
//     scales  per group of 16 or 32 columns: 16 x fp16 scales, then, where the layout has them, 16 x fp16 minimums
// and a weight is
//     with a minimum     unit * (scale * code + minimum)
//     without            unit * (scale * (code - bias)), bias 8 or 128
// The unit brings the largest |scale| and |minimum| of a row to [128, 256), so that fp16 holds the others to 2^-11 of
// themselves down to 2^-21 of the largest, and to 2^-32 of the largest below.
//
//     stored type      layout    codes  group  minimum  scales are
//     Q4_0             kW4       4 bit  32     no       exact
//     Q4_1             kW4m      4 bit  32     yes      exact
//     Q4_K             kW4m      4 bit  32     yes      d * sc and dmin * m rounded to fp16
//     Q8_0 Q5_0 IQ4_NL kW8       8 bit  32     no       exact
//     MXFP4            kW8       8 bit  32     no       exact
//     IQ4_XS           kW8       8 bit  32     no       d * ls rounded to fp16
//     Q5_1             kW8m      8 bit  32     yes      exact
//     Q5_K             kW8m      8 bit  32     yes      rounded to fp16
//     Q6_K Q3_K        kW8x16    8 bit  16     no       d * sc rounded to fp16
//     Q2_K             kW8mx16   8 bit  16     yes      rounded to fp16
//     F32 F16 BF16     kF32 kF16 kBF16         exact
// "Rounded" moves a scale or minimum by at most 2^-11 of itself. "Exact" holds for every scale that a file can hold but
// those of a row whose scales span more than 2^21 (MXFP4: 2^31); the bound above then holds.
//
// Exact layouts, for formats whose rows have one scale (tensor/row_scaled.h): integers from a row's first column to its
// last, unit * (sum of integer * q). A panel holds
//     units    16 x fp32, the rows' scales
// then, padded to 64 bytes,
//     offsets  16 x int32, where a row has one zero: what is added to its codes, -zero or -128
//     or steps, per group of columns: 16 x u8 steps, 16 x int8 -zero * step
// then per block of 32 columns its codes, as above.
//
//     stored type               layout                  codes  weight is
//     w4_row                    kW4Row                  4 bit  unit * (code + offset)
//     w8_row                    kW8Row                  8 bit  unit * (code + offset)
//     w4_g32 w4_g64 w4_g128     kW4G32 kW4G64 kW4G128   4 bit  unit * (code * step + (-zero * step))
// Their products take rows with one step and 8 bits (Precision::whole_row).
//
// Float layouts (any number of columns): per column 16 numbers, one per row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "tensor/dtype.h"

namespace loci {

enum class WeightLayout : uint8_t {
  kW4,
  kW4m,
  kW8,
  kW8m,
  kW8x16,
  kW8mx16,
  kW4Row,
  kW4G32,
  kW4G64,
  kW4G128,
  kW8Row,
  kF32,
  kF16,
  kBF16
};

inline constexpr uint32_t kPanelRows = 16;
inline constexpr uint32_t kBlockColumns = 32;  // columns that share an activation scale
inline constexpr size_t kExactHeader = 64;     // bytes of an exact panel before its offsets or steps

struct LayoutInfo {
  std::string_view name;
  bool integer;    // multiplies activations rounded to 8 bits; otherwise fp32 activations
  uint32_t bits;   // per code or float
  uint32_t group;  // columns that share a scale; 1 for float layouts, 0: all of a row
  bool minimum;
  bool exact = false;  // sums are integers to the end
};

const LayoutInfo& info(WeightLayout layout);
std::span<const WeightLayout> all_layouts();

// The layout that a stored type is packed into; kF32 for every type if `integer` is false.
WeightLayout layout_of(DType dtype, bool integer);

struct PanelShape {
  size_t blocks = 0;       // bytes from the panel's start to its first block; exact layouts: offsets or steps at 64
  size_t block_bytes = 0;  // of 32 columns
  size_t scales = 0;       // bytes from a block's start to its scales
  size_t group_bytes = 0;  // of one group's scales and minimums
  size_t bytes = 0;        // of the whole panel, a multiple of 64
};
PanelShape panel_shape(WeightLayout layout, uint32_t columns);

}  // namespace loci
