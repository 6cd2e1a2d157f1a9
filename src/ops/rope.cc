#include "ops/rope.h"

#include <cmath>

#include "kernels/cpu/rope/rotate.h"
#include "ops/row_loop.h"

namespace loci {

void rope_angles(OpContext& context, std::span<const int32_t> positions, std::span<const double> inverse_frequencies,
                 double magnitude, Rows cos_sin) {
  const size_t half = inverse_frequencies.size();
  LOCI_ASSERT(cos_sin.rows == positions.size() && cos_sin.width == 2 * half, "a row of cosines and sines per token");
  constexpr size_t kCostOfSinCos = 32;
  for_each_row(context, cos_sin.rows, half * kCostOfSinCos, [&](size_t row) {
    float* out = cos_sin.row(row);
    for (size_t i = 0; i < half; ++i) {
      const double angle = positions[row] * inverse_frequencies[i];
      out[i] = static_cast<float>(std::cos(angle) * magnitude);
      out[half + i] = static_cast<float>(std::sin(angle) * magnitude);
    }
  });
}

void rotate(OpContext& context, Rows x, uint32_t heads, uint32_t head_dim, RopePairing pairing, const Rows& cos_sin) {
  LOCI_ASSERT(x.rows == cos_sin.rows && x.width == size_t{heads} * head_dim && cos_sin.width <= head_dim,
              "a row of angles per row of heads");
  const size_t half = cos_sin.width / 2;
  const RotateHead rotate_head =
      pairing == RopePairing::kAdjacent ? rotate_adjacent(context.isa) : rotate_halves(context.isa);
  for_each_row(context, x.rows, x.width, [&](size_t row) {
    const float* cosines = cos_sin.row(row);
    for (size_t h = 0; h < heads; ++h) rotate_head(x.row(row) + h * head_dim, cosines, cosines + half, half);
  });
}

}  // namespace loci
