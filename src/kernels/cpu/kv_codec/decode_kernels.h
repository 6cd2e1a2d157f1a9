// The decode kernels of each instruction set; kv_decode_kernels() chooses.
#pragma once

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {

extern const KvDecodeKernels kKvDecodeScalar;
extern const KvDecodeKernels kKvDecodeAvx2;
extern const KvDecodeKernels kKvDecodeAvx512;

}  // namespace loci
