// Activations as the matrix kernels read them: rows in groups, interleaved by block of columns, so that a kernel walks
// one pointer for all rows of a group.
//
// Rounded rows (integer layouts). A row's block of 32 columns becomes integers q = rint(x / scale) of up to 16 bits,
//     q = low + 256 high,   low in [-128, 127],   high in [-127, 127]
// and high is zero for most columns: the scale is chosen for the bulk of a block's columns, so that their q fit in
// `low`, and only the columns that stick out need `high`, which costs multiplications of its own. `wide` has a bit for
// each four neighbouring columns (4 i .. 4 i + 3: what one integer dot product takes) that have a high part; kernels
// skip the others.
//
// Which columns may stick out is the `Precision`: four columns are wide if one of them exceeds 127 * cap, with
//     cap = precision.step * (mean of the row's |x|)
// A block's scale is the largest |x| of its columns that are not wide over 127, hence at most cap; if all are wide,
// the largest |x| over 32512, as it is at least in any case. All of this is a function of the row alone.
//
// In a group of G rows, block b takes 84 G bytes:
//     low        G x 32 bytes
//     high       G x 32 bytes
//     scale      G x fp32
//     scale_sum  G x fp32    scale * sum of q
//     bias       G x int32   -128 * sum of q: what a weight code's bias of 128 adds too much
//     low_bias   G x int32   -128 * sum of the first 16 q
//     wide       G x uint32
// A block whose largest |x| is below 2^-100 is rounded to zeros; one that holds a NaN or an infinity gets q = 0 and a
// NaN scale, so that the outputs it reaches are NaN.
//
// Float rows (float layouts). Column k of a group takes G x fp32.
//
// A group's size depends on the instruction set and on the number of rows; results do not depend on it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

namespace loci {

struct ActivationBlock {
  static constexpr size_t kRowBytes = 84;  // of a row's block of 32 columns
  static constexpr size_t high(size_t rows) { return rows * 32; }
  static constexpr size_t scale(size_t rows) { return rows * 64; }
  static constexpr size_t scale_sum(size_t rows) { return rows * 68; }
  static constexpr size_t bias(size_t rows) { return rows * 72; }
  static constexpr size_t low_bias(size_t rows) { return rows * 76; }
  static constexpr size_t wide(size_t rows) { return rows * 80; }
};

// Bytes of one row in either form; groups follow each other without gaps.
constexpr size_t rounded_row_bytes(size_t columns) { return columns / 32 * ActivationBlock::kRowBytes; }
constexpr size_t float_row_bytes(size_t columns) { return columns * sizeof(float); }

// Rows of the next group when `remaining` >= 1 rows are left. Rounded rows: 1, 2 and 3 with AVX-512, otherwise 1, 2 and
// 4. Float rows: 1, 2 and 4, and 6 with AVX-512.
inline uint32_t group_rows(Isa isa, bool integer, uint32_t remaining) {
  if (isa == Isa::kAvx512 && integer && remaining >= 3 && remaining != 4) return 3;
  if (isa == Isa::kAvx512 && !integer && remaining >= 6 && remaining != 8) return 6;
  if (!(isa == Isa::kAvx512 && integer) && remaining >= 4) return 4;
  return remaining >= 2 ? 2 : 1;
}

inline constexpr uint32_t kGroupsMeet = 12;  // whole groups of every instruction set

// Where row `in_group` of a group of `rows` rows goes.
struct GroupRow {
  std::byte* group;
  uint32_t rows;
  uint32_t in_group;
};

struct Precision {
  float step;  // of the row's mean |x|; infinity: nothing is wide, plain 8 bits
};

// Rounds `columns` (a multiple of 32) numbers. Equal bit for bit on every instruction set.
using RoundRow = void (*)(const float* x, size_t columns, Precision precision, const GroupRow& to);
RoundRow round_row(Isa isa);

// Copies `columns` numbers into a float group.
void place_row(const float* x, size_t columns, const GroupRow& to);

namespace detail {
void round_row_scalar(const float* x, size_t columns, Precision precision, const GroupRow& to);
void round_row_avx2(const float* x, size_t columns, Precision precision, const GroupRow& to);
void round_row_avx512(const float* x, size_t columns, Precision precision, const GroupRow& to);
}  // namespace detail

}  // namespace loci
