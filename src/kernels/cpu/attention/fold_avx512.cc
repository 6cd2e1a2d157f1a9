#include "kernels/cpu/attention/fold_block.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/simd/vec16_avx512.h"

namespace loci {

const Fp32Kernels kAttentionAvx512 =
    kFp32Kernels<simd_avx512::Vec16, simd_avx512::kTileRows, simd_avx512::kTileVectors>;

}  // namespace loci
