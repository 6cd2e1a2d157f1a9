// Activations as the matrix kernels read them: rows in groups, interleaved by block of columns, so that a kernel walks
// one pointer for all rows of a group.
//
// Rounded rows (integer layouts). A number becomes an integer q = rint(x / step) of up to 16 bits,
//     q = low + 256 high,   low in [-128, 127],   high in [-127, 127]
// and high is zero for most columns: the step is chosen for the bulk of a row's columns, so that their q fit in `low`,
// and only the columns that stick out need `high`, which costs multiplications of its own. `flags` has a bit for each
// four neighbouring columns (4 i .. 4 i + 3: what one integer dot product takes) that have a high part; kernels skip
// the others.
//
// The step is the row's, step = precision.step * (mean of the row's |x|), so that a kernel multiplies with it once at
// the end and not once a block. A block whose largest |x| lies beyond 32512 steps takes the smallest power of two of
// steps that reaches it. Plain 8 bits (precision.step infinite): the row's step is 1 and a block's the largest |x| of
// its columns over 127. Whole rows in 8 bits (precision.whole_row): the row's step is its largest |x| over 127, nothing
// is wide and every scale is 1. A block's factor on the row's step is its `scale`; `flags` says where it is not 1. All
// of this is a function of the row alone.
//
// In a group of G rows, block b takes 84 G bytes:
//     low        G x 32 bytes
//     high       G x 32 bytes
//     scale      G x fp32
//     scale_sum  G x fp32    scale * sum of q
//     bias       G x int32   -128 * sum of q: what a weight code's bias of 128 adds too much
//     low_bias   G x int32   -128 * sum of the first 16 q
//     flags      G x uint32
// and after the last block come the rows' steps, G x fp32. A row whose largest |x| is below 2^-100 is rounded to zeros;
// one that holds a NaN or an infinity gets q = 0 and a NaN step, so that its outputs are NaN.
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
  static constexpr size_t flags(size_t rows) { return rows * 80; }

  static constexpr uint32_t kWide = 0xff;     // of the flags: a bit for each four columns that have a high part
  static constexpr uint32_t kScaled = 0x100;  // the scale is not 1
};

// Bytes of one row in either form; groups follow each other without gaps.
constexpr size_t rounded_row_bytes(size_t columns) { return columns / 32 * ActivationBlock::kRowBytes + sizeof(float); }
// Bytes from a group's start to its rows' steps.
constexpr size_t steps_offset(size_t columns, size_t rows) { return columns / 32 * ActivationBlock::kRowBytes * rows; }
constexpr size_t float_row_bytes(size_t columns) { return columns * sizeof(float); }

inline constexpr uint32_t kTileGroupRows = 16;  // rounded rows of a tile of the matrix unit

// Rows of the next group when `remaining` >= 1 rows are left. Rounded rows: 1, 2 and 3 with AVX-512 and kTileGroupRows
// with AMX, otherwise 1, 2 and 4. Float rows: 1, 2 and 4, and 6 with AVX-512.
inline uint32_t group_rows(Isa isa, bool integer, uint32_t remaining) {
  if (isa == Isa::kAmx && integer && remaining >= kTileGroupRows) return kTileGroupRows;
  if (isa >= Isa::kAvx512 && integer && remaining >= 3 && remaining != 4) return 3;
  if (isa >= Isa::kAvx512 && !integer && remaining >= 6 && remaining != 8) return 6;
  if (!(isa >= Isa::kAvx512 && integer) && remaining >= 4) return 4;
  return remaining >= 2 ? 2 : 1;
}

inline constexpr uint32_t kGroupsMeet = 48;  // whole groups of every instruction set

// Where row `in_group` of a group of `rows` rows goes.
struct GroupRow {
  std::byte* group;
  uint32_t rows;
  uint32_t in_group;
};

struct Precision {
  float step;              // in shares of the row's mean |x|; infinity: nothing is wide, plain 8 bits
  bool whole_row = false;  // one step of 8 bits for all of the row
};

// Rounds `columns` (a multiple of 32) numbers. Equal bit for bit on every instruction set.
using RoundRow = void (*)(const float* x, size_t columns, Precision precision, const GroupRow& to);
RoundRow round_row(Isa isa);

// Copies `columns` numbers into a float group.
void place_row(const float* x, size_t columns, const GroupRow& to);

namespace detail {

// How a row is rounded. Made from the largest magnitude of its numbers, as bits (integers order them like floats do,
// with NaN above infinity), and the sum of them.
struct RowStep {
  float step;     // NaN: the row holds numbers that are not finite
  float inverse;  // 0: every q is 0
  float limit;    // the largest |x| of a block that the step reaches
  bool plain;     // a block has a step of its own, at most 127 of which it holds
  bool reaches;   // no block needs a scale
};
RowStep row_step(uint32_t largest_bits, float sum, size_t columns, Precision precision);

// The scale of a block by its largest magnitude, where the row's step does not reach or is plain.
struct BlockScale {
  float scale;
  float inverse;  // of scale * step
};
BlockScale block_scale(uint32_t largest_bits, const RowStep& row);

void round_row_scalar(const float* x, size_t columns, Precision precision, const GroupRow& to);
void round_row_avx2(const float* x, size_t columns, Precision precision, const GroupRow& to);
void round_row_avx512(const float* x, size_t columns, Precision precision, const GroupRow& to);
}  // namespace detail

}  // namespace loci
