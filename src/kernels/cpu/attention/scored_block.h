// The body of the kernels for known scores, over a vector namespace as in fold_block.h.
#pragma once

#include "kernels/cpu/attention/fold_block.h"
#include "kernels/cpu/attention/scored_kernels.h"

namespace loci {

template <typename Vec16, int kRows, int kVectors>
void fold_scored_tile(const BlockRead& b) {
  fold_entries<Vec16, DecodedEntries<Vec16>, kRows, kVectors, true>(
      b, {nullptr, reinterpret_cast<const float*>(b.block), b.dim});
}

template <typename Vec16, int kRows, int kVectors>
void fold_scored_halves(const BlockRead& b) {
  fold_entries<Vec16, PageEntries<Vec16>, kRows, kVectors, true>(b, {*b.layout, b.page, b.next_page - b.page});
}

template <typename Vec16, int kRows, int kVectors>
inline constexpr ScoredKernels kScoredKernels = {{decode_values<Vec16>, fold_scored_tile<Vec16, kRows, kVectors>},
                                                 {nullptr, fold_scored_halves<Vec16, kRows, kVectors>}};

}  // namespace loci
