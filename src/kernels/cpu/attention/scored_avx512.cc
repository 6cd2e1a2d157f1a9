#include "kernels/cpu/attention/scored_block.h"
#include "kernels/cpu/simd/vec16_avx512.h"

namespace loci {

const ScoredKernels kScoredAvx512 =
    kScoredKernels<simd_avx512::Vec16, simd_avx512::kTileRows, simd_avx512::kTileVectors>;

}  // namespace loci
