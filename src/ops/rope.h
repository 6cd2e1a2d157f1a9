// Rotary position embedding: a table of cosines and sines per batch, and its application to queries and keys.
#pragma once

#include <cstdint>
#include <span>

#include "io/model_file.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// cos_sin [tokens, 2 * half]: row t is cos(positions[t] * inverse_frequencies[i]) * magnitude for i < half, then the
// sines. Angles are multiplied out and reduced in double. cos_sin.width is 2 * inverse_frequencies.size().
void rope_angles(OpContext& context, std::span<const int32_t> positions, std::span<const double> inverse_frequencies,
                 double magnitude, Rows cos_sin);

// Rotates, in place, the first cos_sin.width numbers of each head of x [tokens, heads * head_dim]; the rest stays.
void rotate(OpContext& context, Rows x, uint32_t heads, uint32_t head_dim, RopePairing pairing, const Rows& cos_sin);

}  // namespace loci
