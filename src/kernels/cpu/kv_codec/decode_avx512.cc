#include "kernels/cpu/kv_codec/decode_kernels.h"
#include "kernels/cpu/kv_codec/decode_page.h"
#include "kernels/cpu/simd/vec16_avx512.h"

namespace loci {

const KvDecodeKernels kKvDecodeAvx512 = kDecodeKernels<simd_avx512::Vec16>;

}  // namespace loci
