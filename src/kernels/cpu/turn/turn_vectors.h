// turn_row over vectors of 16 numbers. `turn_lanes` makes the four levels of butterflies within a vector.
#pragma once

#include "kernels/cpu/turn/turn.h"

namespace loci {

template <typename Vec16, Vec16 (*turn_lanes)(Vec16)>
class TurnVectors {
 public:
  static void run(const TurnShape& shape, float* x) {
    if (shape.powers < kLanes) return detail::turn_row_scalar(shape, x);
    const uint32_t width = shape.powers * shape.odd;
    uint32_t half = kLanes;  // of the next level
    if (shape.powers >= 8 * kLanes) {
      half = first_levels<8>(x, width);
    } else if (shape.powers == 4 * kLanes) {
      half = first_levels<4>(x, width);
    } else {
      half = first_levels<1>(x, width);
    }
    for (; 2 * half < shape.powers; half *= 4) two_levels(x, width, half);
    if (half < shape.powers) one_level(x, width, half);
    switch (shape.odd) {
      case 1:
        return across_blocks<1>(shape, x);
      case 3:
        return across_blocks<3>(shape, x);
      case 5:
        return across_blocks<5>(shape, x);
      case 7:
        return across_blocks<7>(shape, x);
      case 9:
        return across_blocks<9>(shape, x);
      default:
        return across_blocks<0>(shape, x);
    }
  }

 private:
  static constexpr uint32_t kLanes = 16;

  // The levels within kVectors vectors side by side, which stay in registers. Returns the half of the next.
  template <uint32_t kVectors>
  static uint32_t first_levels(float* x, uint32_t width) {
    for (float* at = x; at < x + width; at += kVectors * kLanes) {
      Vec16 v[kVectors];
      for (uint32_t i = 0; i < kVectors; ++i) v[i] = turn_lanes(Vec16::load(at + i * kLanes));
      for (uint32_t apart = 1; apart < kVectors; apart *= 2) {
        for (uint32_t i = 0; i < kVectors; ++i) {
          if ((i & apart) != 0) continue;
          const Vec16 a = v[i], b = v[i + apart];
          v[i] = a + b;
          v[i + apart] = a - b;
        }
      }
      for (uint32_t i = 0; i < kVectors; ++i) v[i].store(at + i * kLanes);
    }
    return kVectors * kLanes;
  }

  static void one_level(float* x, uint32_t width, uint32_t half) {
    for (uint32_t first = 0; first < width; first += 2 * half) {
      for (float* at = x + first; at < x + first + half; at += kLanes) {
        const Vec16 a = Vec16::load(at), b = Vec16::load(at + half);
        (a + b).store(at);
        (a - b).store(at + half);
      }
    }
  }

  static void two_levels(float* x, uint32_t width, uint32_t half) {
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

  // kOdd 0: as many blocks as the shape says, at most kMostTurnBlocks.
  template <uint32_t kOdd>
  static void across_blocks(const TurnShape& shape, float* x) {
    const uint32_t odd = kOdd == 0 ? shape.odd : kOdd, powers = shape.powers;
    Vec16 column[kOdd == 0 ? kMostTurnBlocks : kOdd];
    for (float* at = x; at < x + powers; at += kLanes) {
      for (uint32_t j = 0; j < odd; ++j) column[j] = Vec16::load(at + j * powers);
      for (uint32_t k = 0; k < odd; ++k) {
        const float* small = shape.small + k * odd;
        Vec16 sum = column[0] * Vec16::broadcast(small[0]);
        for (uint32_t j = 1; j < odd; ++j) sum = fma(column[j], Vec16::broadcast(small[j]), sum);
        sum.store(at + k * powers);
      }
    }
  }
};

}  // namespace loci
