#include "kernels/cpu/select/select_kernels.h"

namespace loci {

const SelectKernels& select_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::kSelectAvx512;
  if (isa == Isa::kAvx2) return detail::kSelectAvx2;
#endif
  (void)isa;
  return detail::kSelectScalar;
}

}  // namespace loci
