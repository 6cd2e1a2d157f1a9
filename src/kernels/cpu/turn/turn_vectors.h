// turn_row over vectors of 16 numbers. `turn_lanes` makes the four levels of butterflies within a vector.
#pragma once

#include "kernels/cpu/turn/turn.h"

namespace loci {

template <typename Vec16, Vec16 (*turn_lanes)(Vec16)>
void turn_row_in_vectors(const TurnShape& shape, float* x) {
  constexpr uint32_t kLanes = 16;
  if (shape.powers < kLanes) return detail::turn_row_scalar(shape, x);
  const uint32_t powers = shape.powers, width = powers * shape.odd;
  for (uint32_t i = 0; i < width; i += kLanes) turn_lanes(Vec16::load(x + i)).store(x + i);
  uint32_t half = kLanes;
  for (; 2 * half < powers; half *= 4) {  // two levels at a time
    for (uint32_t first = 0; first < width; first += 4 * half) {
      for (float* at = x + first; at < x + first + half; at += kLanes) {
        const Vec16 a = Vec16::load(at), b = Vec16::load(at + half);
        const Vec16 c = Vec16::load(at + 2 * half), d = Vec16::load(at + 3 * half);
        const Vec16 ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        (ab + cd).store(at);
        (a_b + c_d).store(at + half);
        (ab - cd).store(at + 2 * half);
        (a_b - c_d).store(at + 3 * half);
      }
    }
  }
  if (half < powers) {
    for (uint32_t first = 0; first < width; first += 2 * half) {
      for (float* at = x + first; at < x + first + half; at += kLanes) {
        const Vec16 a = Vec16::load(at), b = Vec16::load(at + half);
        (a + b).store(at);
        (a - b).store(at + half);
      }
    }
  }
  Vec16 column[kMostTurnBlocks];
  for (float* at = x; at < x + powers; at += kLanes) {
    for (uint32_t j = 0; j < shape.odd; ++j) column[j] = Vec16::load(at + j * powers);
    for (uint32_t k = 0; k < shape.odd; ++k) {
      const float* small = shape.small + k * shape.odd;
      Vec16 sum = column[0] * Vec16::broadcast(small[0]);
      for (uint32_t j = 1; j < shape.odd; ++j) sum = fma(column[j], Vec16::broadcast(small[j]), sum);
      sum.store(at + k * powers);
    }
  }
}

}  // namespace loci
