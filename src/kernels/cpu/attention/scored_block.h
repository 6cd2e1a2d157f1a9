// The body of the kernels for known scores, over a vector namespace as in fold_block.h.
#pragma once

#include "kernels/cpu/attention/fold_block.h"
#include "kernels/cpu/attention/scored_kernels.h"

namespace loci {

// Halves of single slots, where they are.
template <typename Vec16>
struct PlacedValues {
  static constexpr size_t kGroupBytes = size_t{kPageSlots} * kCodeGroup * 2;

  const std::byte* const* values;
  const std::byte* const* next_values;

  Vec16 value(size_t slot, size_t d) const {
    const size_t offset = d / kCodeGroup * kGroupBytes + d % kCodeGroup * 2;
    if (d % kCodeGroup == 0) __builtin_prefetch(next_values[slot] + offset, 0, 2);
    return Vec16::load_half(reinterpret_cast<const uint16_t*>(values[slot] + offset));
  }
};

template <typename Vec16, int kRows, int kVectors>
void fold_scored_places(const BlockRead& b, const std::byte* const* values, const std::byte* const* next_values) {
  fold_entries<Vec16, PlacedValues<Vec16>, kRows, kVectors, true>(b, {values, next_values});
}

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
inline constexpr ScoredKernels kScoredKernels = {
    {decode_values<Vec16>, fold_scored_tile<Vec16, kRows, kVectors>, nullptr},
    {nullptr, fold_scored_halves<Vec16, kRows, kVectors>, fold_scored_places<Vec16, kRows, kVectors>}};

}  // namespace loci
