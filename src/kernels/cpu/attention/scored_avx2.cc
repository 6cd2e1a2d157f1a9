#include "kernels/cpu/attention/scored_block.h"
#include "kernels/cpu/simd/vec16_avx2.h"

namespace loci {

const ScoredKernels kScoredAvx2 = kScoredKernels<simd_avx2::Vec16, simd_avx2::kTileRows, simd_avx2::kTileVectors>;

}  // namespace loci
