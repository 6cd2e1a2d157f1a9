#include "kernels/cpu/select/score_tiles.h"

namespace loci {

const ScoreTiles* score_tiles(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAmx) return &detail::kScoreTilesAmx;
  if (isa == Isa::kAvx512 && cpu_info().fast_bf16) return &detail::kScoreTilesBf16Avx512;
#endif
  (void)isa;
  return nullptr;
}

}  // namespace loci
