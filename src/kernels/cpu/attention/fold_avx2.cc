#include "kernels/cpu/attention/fold_block.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/simd/vec16_avx2.h"

namespace loci {

const Fp32Kernels kAttentionAvx2 = kFp32Kernels<simd_avx2::Vec16, simd_avx2::kTileRows, simd_avx2::kTileVectors>;

}  // namespace loci
