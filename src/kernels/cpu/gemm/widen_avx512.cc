#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/gemm/widen.h"

namespace loci::detail {
namespace {

// Ahead of what is read, where few rows make memory the bound.
constexpr size_t kPrefetchBytes = 4096;

template <WeightLayout kFrom, WeightLayout kTo, int kAdded>
void widen(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  const PanelShape from = panel_shape(kFrom, columns), to = panel_shape(kTo, columns);
  const __m512i low = _mm512_set1_epi8(15), added = _mm512_set1_epi8(kAdded);
  for (size_t panel = 0; panel < count; ++panel) {
    const std::byte* block = panels + panel * from.bytes;
    std::byte* out = wide + panel * to.bytes;
    std::memcpy(out, block, from.blocks);
    block += from.blocks;
    out += to.blocks;
    for (uint32_t b = 0; b < columns / kBlockColumns; ++b, block += from.block_bytes, out += to.block_bytes) {
      for (size_t line = 0; line < from.block_bytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(block + kPrefetchBytes + line), _MM_HINT_T1);
      }
      for (size_t j = 0; j < 4; ++j) {
        const __m512i pair = _mm512_loadu_si512(block + 64 * j);
        const __m512i first = _mm512_and_si512(pair, low);
        const __m512i second = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
        _mm512_storeu_si512(out + 64 * j, _mm512_add_epi8(first, added));
        _mm512_storeu_si512(out + 64 * (j + 4), _mm512_add_epi8(second, added));
      }
      std::memcpy(out + to.scales, block + from.scales, from.group_bytes);
    }
  }
}

}  // namespace

void widen_w4_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  widen<WeightLayout::kW4, WeightLayout::kW8, 120>(panels, count, columns, wide);
}

void widen_w4m_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  widen<WeightLayout::kW4m, WeightLayout::kW8m, 0>(panels, count, columns, wide);
}

}  // namespace loci::detail
