// Scores of queries against keys as they would be if the keys stood elsewhere: keys are stored with the angles of their
// own positions, and rotary embedding lets a key be turned on by any number of positions.
//
// Shapes. The heads of a table at once: pages[h] the pages of head h in slot order; moves [64 * pages], by slot, the
// positions that a key moves by, the same for all heads; queries [heads * group, padded_dim], padded with zeros, turned
// as they are wanted and not prepared for a codec; scores [heads * group, >= 64 * pages]. Where a head's page is null,
// nothing is scored.
//
// Numbers. Angles are sums of two out of tables whose entries are rounded once; a score is one chain of fused
// multiply-adds over the dimensions in ascending order: the same bits on every instruction set and for every number of
// threads.
//
// Cost. Each page is decoded and turned before it is scored, about four times the arithmetic of scores(); pages,
// each with all heads, are shared among workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/model_file.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "ops/context.h"
#include "tensor/rows.h"

namespace loci {

// Cosines and sines of whole numbers of positions, up to `most` in either direction.
class AngleTable {
 public:
  AngleTable(std::span<const double> inverse_frequencies, uint32_t most);

  size_t half() const { return half_; }
  // cosines and sines [half][64] of 64 moves.
  void of(const int32_t* moves, float* cosines, float* sines) const;

 private:
  size_t half_;
  std::vector<float> near_;  // [64 positions][half cosines, half sines]
  std::vector<float> far_;   // the same of multiples of 64
};

struct MovedKeys {
  const PageLayout* layout = nullptr;
  std::span<const std::vector<const std::byte*>> pages;
  std::span<const int32_t> moves;
};

void moved_scores(OpContext& context, const AngleTable& angles, RopePairing pairing, const MovedKeys& keys,
                  const Rows& queries, Rows scores);
// Bytes of context.scratch that moved_scores() takes.
uint64_t moved_scores_scratch_bytes(uint32_t padded_dim, int threads);

}  // namespace loci
