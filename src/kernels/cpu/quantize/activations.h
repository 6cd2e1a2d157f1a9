// Activations as the matrix kernels read them: rows in groups, interleaved by block of columns, so that a kernel walks
// one pointer for all rows of a group.
//
// Rounded rows (integer layouts). A row's block of 32 columns becomes q = rint(x * (127 / amax)), scale = amax / 127,
// and the sum of its q. In a group of G rows, block b takes 48 G bytes:
//     q          G x 32 bytes
//     scale      G x fp32
//     scale_sum  G x fp32    scale * sum of q
//     bias       G x int32   -128 * sum of q: what a weight code's bias of 128 adds too much
//     low_bias   G x int32   -128 * sum of the first 16 q
// A block whose amax is below 2^-100 is rounded to zeros; one that holds a NaN or an infinity gets q = 0 and a NaN
// scale, so that the outputs it reaches are NaN.
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
  static constexpr size_t kRowBytes = 48;  // of a row's block of 32 columns
  static constexpr size_t scale(size_t rows) { return rows * 32; }
  static constexpr size_t scale_sum(size_t rows) { return rows * 36; }
  static constexpr size_t bias(size_t rows) { return rows * 40; }
  static constexpr size_t low_bias(size_t rows) { return rows * 44; }
};

// Bytes of one row in either form; groups follow each other without gaps.
constexpr size_t rounded_row_bytes(size_t columns) { return columns / 32 * ActivationBlock::kRowBytes; }
constexpr size_t float_row_bytes(size_t columns) { return columns * sizeof(float); }

inline constexpr uint32_t kMaxGroupRows = 12;

// Rows of the next group when `remaining` >= 1 rows are left.
inline uint32_t group_rows(Isa isa, uint32_t remaining) {
  if (isa == Isa::kAvx512) {
    if (remaining == 12 || remaining >= 20) return 12;
    if (remaining >= 8) return 8;
  }
  if (remaining >= 4) return 4;
  return remaining >= 2 ? 2 : 1;
}

// Where row `in_group` of a group of `rows` rows goes.
struct GroupRow {
  std::byte* group;
  uint32_t rows;
  uint32_t in_group;
};

// Rounds `columns` (a multiple of 32) numbers. Equal bit for bit on every instruction set.
using RoundRow = void (*)(const float* x, size_t columns, const GroupRow& to);
RoundRow round_row(Isa isa);

// rest = x - q * scale, product and difference each rounded once: what the rounded row `rounded` leaves of x. Equal bit
// for bit on every instruction set.
using RoundingRest = void (*)(const float* x, size_t columns, const GroupRow& rounded, float* rest);
RoundingRest rounding_rest(Isa isa);

// Copies `columns` numbers into a float group.
void place_row(const float* x, size_t columns, const GroupRow& to);

namespace detail {
void round_row_scalar(const float* x, size_t columns, const GroupRow& to);
void round_row_avx2(const float* x, size_t columns, const GroupRow& to);
void round_row_avx512(const float* x, size_t columns, const GroupRow& to);
void rounding_rest_scalar(const float* x, size_t columns, const GroupRow& rounded, float* rest);
void rounding_rest_avx2(const float* x, size_t columns, const GroupRow& rounded, float* rest);
void rounding_rest_avx512(const float* x, size_t columns, const GroupRow& rounded, float* rest);
}  // namespace detail

}  // namespace loci
