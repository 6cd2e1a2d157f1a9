#include "kernels/cpu/attention/attention_kernels.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention/fold_kernels.h"

namespace loci {

const AttentionKernels& attention_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return kAttentionAvx512;
    case Isa::kAvx2:
      return kAttentionAvx2;
    case Isa::kScalar:
      break;
  }
  return kAttentionScalar;
}

void clear(SoftmaxState state, size_t rows, size_t dim) {
  std::fill_n(state.m, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.l, rows, 0.0F);
  std::fill_n(state.o, rows * dim, 0.0F);
}

}  // namespace loci
