// The arithmetic of a read whose scores are known: a method that has multiplied every key to choose some of them need
// not have the chosen ones multiplied again. Values in fp32; a row's sums are those of the fp32 kernels.
#pragma once

#include <cstddef>

#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

struct ScoredKernel {
  // Decodes the values of a page to floats, [64][padded_dim]; null where fold reads the page itself.
  void (*load_values)(const PageLayout& layout, const std::byte* page, float* values);
  // As ReadKernel's, with the block's scores given; `queries` are not read. `block` holds the decoded values.
  void (*fold)(const BlockRead& block);
};

struct ScoredKernels {
  ScoredKernel tile;    // any codec
  ScoredKernel halves;  // kv16 read in place
};

extern const ScoredKernels kScoredScalar;
extern const ScoredKernels kScoredAvx2;
extern const ScoredKernels kScoredAvx512;

const ScoredKernel& scored_kernel(Isa isa, KvCodec codec);

}  // namespace loci
