#include "kernels/cpu/kv_codec/decode_kernels.h"
#include "kernels/cpu/kv_codec/decode_page.h"
#include "kernels/cpu/simd/vec16_avx2.h"

namespace loci {

const KvDecodeKernels kKvDecodeAvx2 = kDecodeKernels<simd_avx2::Vec16>;

}  // namespace loci
