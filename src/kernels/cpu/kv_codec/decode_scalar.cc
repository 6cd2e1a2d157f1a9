#include "kernels/cpu/kv_codec/decode_kernels.h"
#include "kernels/cpu/kv_codec/decode_page.h"
#include "kernels/cpu/simd/vec16_scalar.h"

namespace loci {

const KvDecodeKernels kKvDecodeScalar = kDecodeKernels<simd_scalar::Vec16>;

}  // namespace loci
