// Rows that have one scale: W ~ scale * integer, with integers of 8 bits, so that a product with a row of 8-bit
// activations is integers to its end. QServe's formats (Lin et al., arXiv:2405.04532, section 4.1).
//
//   w8_row    scale (fp16), then an int8 per column
//   w4_row    scale (fp16), zero (u8), 0 (u8), then codes q of 4 bits:        integer = q - zero
//   w4_gN     scale (fp16), then per group of N columns
//             step (u8), zero (u8), codes q of 4 bits:                        integer = (q - zero) * step
//
// w4_gN is the progressive format: a row is rounded to 8 bits first, within -119 .. 119 (the protective range), and the
// integers of a group to 4 bits of those. Steps are 1 to 17, zeros 0 to 15. With the protective range no integer leaves
// 8 bits; a row where one does is refused when it is packed.
//
// Sixteen bytes hold the codes of 32 columns: byte i has column i in its low nibble and column 16 + i in its high one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/half.h"
#include "tensor/dtype.h"

namespace loci {

inline constexpr int kProtectiveRange = 119;
inline constexpr int kMostStep = 17;  // (127 + 128) / 15

// True for the formats above.
bool is_row_scaled(DType dtype);
// Columns that share a step; 0: all of a row.
uint32_t step_group(DType dtype);
// The grouped format with the widest group, of at most `most` columns, that divides `columns`; none if 32 does not.
std::optional<DType> grouped_format(uint32_t most, uint64_t columns);

Half row_scale(const std::byte* row);

// Steps and zeros of a row's groups; a row without groups has one, with the step 1.
struct CodeGroup {
  uint8_t step;
  uint8_t zero;
};
CodeGroup code_group(DType dtype, const std::byte* row, size_t group);

// The row's codes as they are stored: 0 to 15, or the integers of w8_row plus 128.
void row_codes(DType dtype, const std::byte* row, std::span<uint8_t> codes);

// Whether all steps and zeros lie in their ranges, and all integers in 8 bits.
bool row_holds(DType dtype, const std::byte* row, size_t columns);

void dequantize_row_scaled(DType dtype, const std::byte* row, std::span<float> out);

// Writes a row from its parts: `groups` has one for each group, or one; w8_row ignores it. `codes` as row_codes gives
// them.
void write_row(DType dtype, Half scale, std::span<const CodeGroup> groups, std::span<const uint8_t> codes,
               std::byte* row);

}  // namespace loci
