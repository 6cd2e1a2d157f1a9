#include "kernels/cpu/attention/fold_block.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/simd/vec16_scalar.h"

namespace loci {

const Fp32Kernels kAttentionScalar =
    kFp32Kernels<simd_scalar::Vec16, simd_scalar::kTileRows, simd_scalar::kTileVectors>;

}  // namespace loci
