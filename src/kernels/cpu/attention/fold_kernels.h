// The attention kernels of each instruction set; attention_kernels() chooses.
#pragma once

#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

extern const AttentionKernels kAttentionScalar;
extern const AttentionKernels kAttentionAvx2;
extern const AttentionKernels kAttentionAvx512;

}  // namespace loci
