#include "attention/primitives/moved_scores.h"

#include <cmath>
#include <cstdlib>

#include "base/assert.h"
#include "kernels/cpu/kv_codec/kv_codec.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

// A decoded tile, and the cosines and sines of its keys.
size_t floats_of(uint32_t padded_dim) { return size_t{2} * padded_dim * kPageSlots; }

std::vector<float> angles_of(std::span<const double> inverse_frequencies, uint32_t count, uint32_t step) {
  const size_t half = inverse_frequencies.size();
  std::vector<float> out(size_t{count} * 2 * half);
  for (uint32_t p = 0; p < count; ++p) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(uint64_t{p} * step) * inverse_frequencies[i];
      out[p * 2 * half + i] = static_cast<float>(std::cos(angle));
      out[p * 2 * half + half + i] = static_cast<float>(std::sin(angle));
    }
  }
  return out;
}

}  // namespace

AngleTable::AngleTable(std::span<const double> inverse_frequencies, uint32_t most)
    : half_(inverse_frequencies.size()),
      near_(angles_of(inverse_frequencies, kPageSlots, 1)),
      far_(angles_of(inverse_frequencies, most / kPageSlots + 1, kPageSlots)) {}

void AngleTable::of(const int32_t* moves, float* cosines, float* sines) const {
  for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
    const auto places = static_cast<uint32_t>(std::abs(moves[slot]));
    const float sign = moves[slot] < 0 ? -1.0F : 1.0F;
    const float* near = near_.data() + size_t{places % kPageSlots} * 2 * half_;
    const float* far = far_.data() + size_t{places / kPageSlots} * 2 * half_;
    LOCI_ASSERT(size_t{places / kPageSlots} * 2 * half_ < far_.size() || half_ == 0, "a key moves within the context");
    for (size_t i = 0; i < half_; ++i) {
      cosines[i * kPageSlots + slot] = far[i] * near[i] - far[half_ + i] * near[half_ + i];
      sines[i * kPageSlots + slot] = sign * (far[half_ + i] * near[i] + far[i] * near[half_ + i]);
    }
  }
}

uint64_t moved_scores_scratch_bytes(uint32_t padded_dim, int threads) {
  return Workspace::bytes_of<float>(floats_of(padded_dim) * static_cast<size_t>(threads));
}

void moved_scores(OpContext& context, const AngleTable& angles, RopePairing pairing, const MovedKeys& keys,
                  const Rows& queries, Rows scores) {
  const Workspace::Mark mark(context.scratch);
  const PageLayout& layout = *keys.layout;
  const size_t heads = keys.pages.size(), group = queries.rows / heads, dim = layout.padded_dim;
  const size_t half = angles.half(), pages = keys.moves.size() / kPageSlots;
  const bool adjacent = pairing == RopePairing::kAdjacent;
  LOCI_ASSERT(queries.stride == dim && queries.rows == heads * group && scores.rows == queries.rows,
              "queries are padded, and equally many for every head");
  LOCI_ASSERT(2 * half <= layout.head_dim && scores.width >= pages * kPageSlots, "pairs and scores have room");
  const SelectKernels& kernels = select_kernels(context.isa);
  const KvDecodeKernels& decode = kv_decode_kernels(context.isa);
  const size_t own = floats_of(layout.padded_dim);
  const std::span<float> memory = context.scratch.take<float>(own * static_cast<size_t>(context.pool.size()));
  context.pool.parallel_for(pages, [&](size_t page, int worker) {
    float* tile = memory.data() + static_cast<size_t>(worker) * own;
    float* cosines = tile + dim * kPageSlots;
    float* sines = cosines + half * kPageSlots;
    bool known = false;
    for (size_t h = 0; h < heads; ++h) {
      const std::byte* from = keys.pages[h][page];
      if (from == nullptr) continue;
      if (!known) angles.of(keys.moves.data() + page * kPageSlots, cosines, sines);
      known = true;
      decode.keys(layout, from, tile);
      if (layout.rotated) kernels.rotate_tile(tile, dim);
      kernels.move_tile(tile, half, adjacent ? 2 : 1, adjacent ? 1 : half, cosines, sines);
      kernels.score_tile(queries.row(h * group), group, dim, tile, scores.row(h * group) + page * kPageSlots,
                         scores.stride);
    }
  });
}

}  // namespace loci
