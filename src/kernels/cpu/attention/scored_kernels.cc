#include "kernels/cpu/attention/scored_kernels.h"

namespace loci {

const ScoredKernel& scored_kernel(Isa isa, KvCodec codec) {
  const ScoredKernels* kernels = &kScoredScalar;
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) kernels = &kScoredAvx2;
  if (isa >= Isa::kAvx512) kernels = &kScoredAvx512;
#endif
  return codec == KvCodec::kKv16 ? kernels->halves : kernels->tile;
}

}  // namespace loci
