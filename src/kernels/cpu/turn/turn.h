// x <- x T for one row: how quantized models mix the columns of an input before it is rounded, so that none sticks out.
//
// T is orthonormal. A row is `odd` blocks of `powers` numbers, a power of two: each block is multiplied by the Hadamard
// matrix of its size, then numbers at the same place of all blocks by `small`. One order of additions on every
// instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace loci {

inline constexpr uint32_t kMostTurnBlocks = 63;

struct TurnShape {
  uint32_t powers;
  uint32_t odd;        // kMostTurnBlocks at most
  const float* small;  // [odd, odd], symmetric; divided by the root of `powers`, which makes T orthonormal
};

using TurnRow = void (*)(const TurnShape& shape, float* x);

TurnRow turn_row(Isa isa);

namespace detail {
void turn_row_scalar(const TurnShape& shape, float* x);
void turn_row_avx2(const TurnShape& shape, float* x);
void turn_row_avx512(const TurnShape& shape, float* x);
}  // namespace detail

}  // namespace loci
