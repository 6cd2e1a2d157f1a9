#include "kernels/cpu/kv_codec/key_lanes.h"

namespace loci::detail {

void round_lanes_avx2(KeyLanes<1>& lanes, const float* shares) { round_lanes(lanes, shares); }
void round_lanes_avx2(KeyLanes<kKeyEntries>& lanes, const float* shares) { round_lanes(lanes, shares); }

}  // namespace loci::detail
