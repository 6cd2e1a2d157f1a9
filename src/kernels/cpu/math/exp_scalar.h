// The exponential of one float; the reference of exp_avx2 and exp_avx512, which equal it bit for bit. Relative error
// below 2e-7; results under 1.18e-38 are 0; exp(-inf) = 0, exp(inf) = inf, NaN gives NaN.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/math/exp_constants.h"

namespace loci {

inline float exp_scalar(float x) {
  namespace c = exp_constants;
  if (x < c::kLowest) return 0.0F;
  if (x > c::kHighest) return std::numeric_limits<float>::infinity();
  const float shifted = std::fma(x, c::kLog2E, c::kRound);
  const float n = shifted - c::kRound;
  const float r = std::fma(n, c::kMinusLn2Low, std::fma(n, c::kMinusLn2High, x));
  float p = std::fma(c::kC6, r, c::kC5);
  p = std::fma(p, r, c::kC4);
  p = std::fma(p, r, c::kC3);
  p = std::fma(p, r, c::kC2);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  if (p != p) return p;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
}

}  // namespace loci
