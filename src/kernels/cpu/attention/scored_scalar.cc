#include "kernels/cpu/attention/scored_block.h"
#include "kernels/cpu/simd/vec16_scalar.h"

namespace loci {

const ScoredKernels kScoredScalar =
    kScoredKernels<simd_scalar::Vec16, simd_scalar::kTileRows, simd_scalar::kTileVectors>;

}  // namespace loci
