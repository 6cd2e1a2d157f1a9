#include "kernels/cpu/select/score_tiles.h"

namespace loci {

const ScoreTiles* score_tiles(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAmx) return &detail::kScoreTilesAmx;
#endif
  (void)isa;
  return nullptr;
}

}  // namespace loci
