#include "kernels/cpu/kv_codec/kv_codec.h"

#include "kernels/cpu/kv_codec/decode_kernels.h"

namespace loci {

const KvDecodeKernels& kv_decode_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
    case Isa::kAvx512:
      return kKvDecodeAvx512;
    case Isa::kAvx2:
      return kKvDecodeAvx2;
    case Isa::kScalar:
      break;
  }
  return kKvDecodeScalar;
}

}  // namespace loci
