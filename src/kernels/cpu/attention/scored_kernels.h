// The arithmetic of a read whose scores are known: a method that has multiplied every key to choose some of them need
// not have the chosen ones multiplied again. Values in fp32; a row's sums are those of the fp32 kernels. Values that
// lie alone are read where they are, and asked for a block ahead.
#pragma once

#include <cstddef>

#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

struct ScoredKernel {
  // Decodes the values of a page to floats, [64][padded_dim]; null where fold reads the page itself.
  void (*load_values)(const PageLayout& layout, const std::byte* page, float* values);
  // As ReadKernel's, with the block's scores given; `queries` are not read. `block` holds the decoded values.
  void (*fold)(const BlockRead& block);
  // As fold, for a block put together from single slots: values[i] is where the values of its slot i begin
  // (first_values), next_values[i] of the block to be read after it, to be fetched meanwhile; [64] each, the last one
  // repeated where there are fewer. Null: not offered, slots are copied into a page.
  void (*fold_places)(const BlockRead& block, const std::byte* const* values, const std::byte* const* next_values);
};

// Where a slot's values begin in a page that fold_places reads.
inline const std::byte* first_values(const PageLayout& layout, const std::byte* page, uint32_t slot) {
  return page + value_half(layout, slot, 0);
}

struct ScoredKernels {
  ScoredKernel tile;    // any codec
  ScoredKernel halves;  // kv16 read in place
};

extern const ScoredKernels kScoredScalar;
extern const ScoredKernels kScoredAvx2;
extern const ScoredKernels kScoredAvx512;

const ScoredKernel& scored_kernel(Isa isa, KvCodec codec);

}  // namespace loci
