// The reference of the selection loops.
#include "kernels/cpu/select/float_loops.h"
#include "kernels/cpu/simd/vec16_scalar.h"

namespace loci {
namespace {

void count_keys(const float* x, size_t count, uint32_t prefix, int above, int shift, uint32_t mask, uint32_t* bins) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t key = select_key(x[i]);
    if (above < 32 && (key >> above) != (prefix >> above)) continue;
    ++bins[(key >> shift) & mask];
  }
}

size_t collect(const float* x, size_t count, uint32_t first, Cut& cut, uint32_t* out) {
  size_t taken = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t key = select_key(x[i]);
    if (key < cut.key) continue;
    if (key == cut.key) {
      if (cut.ties == 0) continue;
      --cut.ties;
    }
    out[taken++] = first + static_cast<uint32_t>(i);
  }
  return taken;
}

void mark_at_least(const float* x, size_t count, float threshold, uint64_t* words) {
  for (size_t i = 0; i < count; i += 64) {
    uint64_t word = 0;
    for (size_t j = 0; j < 64 && i + j < count; ++j) word |= uint64_t{x[i + j] >= threshold} << j;
    words[i / 64] = word;
  }
}

using Loops = FloatLoops<simd_scalar::Vec16, simd_scalar::kTileRows, simd_scalar::kTileVectors>;

}  // namespace

const SelectKernels detail::kSelectScalar = select_table<Loops>(count_keys, collect, mark_at_least);

}  // namespace loci
