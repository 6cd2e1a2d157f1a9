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

inline void prefetch_block(const std::byte* block) {
  for (size_t line = 0; line < 256; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(block + kPrefetchBytes + line), _MM_HINT_T1);
  }
}

// A panel's integers: a 32-bit lane holds four columns of a row, so one multiplication by the row's step serves four
// codes, whose products stay below 256, and the byte-wise sum with -zero * step wraps to the integer.
template <WeightLayout kFrom, int kGroup>
void widen_steps(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  const PanelShape from = panel_shape(kFrom, columns), to = panel_shape(WeightLayout::kW8Row, columns);
  const __m512i low = _mm512_set1_epi8(15), to_code = _mm512_set1_epi8(-128);
  const __m512i every_byte = _mm512_set1_epi32(0x01010101);
  for (size_t panel = 0; panel < count; ++panel) {
    const std::byte* in = panels + panel * from.bytes;
    std::byte* out = wide + panel * to.bytes;
    std::memcpy(out, in, kExactHeader);
    _mm512_storeu_si512(out + kExactHeader, _mm512_set1_epi32(-128));
    const std::byte* block = in + from.blocks;
    out += to.blocks;
    for (uint32_t b = 0; b < columns / kBlockColumns; ++b, block += from.block_bytes, out += to.block_bytes) {
      prefetch_block(block);
      const std::byte* group = in + kExactHeader + b / (kGroup / kBlockColumns) * from.group_bytes;
      const __m512i step = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(group)));
      const __m512i zero = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(group + 16)));
      const __m512i added = _mm512_add_epi8(_mm512_mullo_epi32(zero, every_byte), to_code);
      for (size_t j = 0; j < 4; ++j) {
        const __m512i pair = _mm512_loadu_si512(block + 64 * j);
        const __m512i first = _mm512_and_si512(pair, low);
        const __m512i second = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low);
        _mm512_storeu_si512(out + 64 * j, _mm512_add_epi8(_mm512_mullo_epi32(first, step), added));
        _mm512_storeu_si512(out + 64 * (j + 4), _mm512_add_epi8(_mm512_mullo_epi32(second, step), added));
      }
    }
  }
}

}  // namespace

void widen_w4_row_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  const PanelShape from = panel_shape(WeightLayout::kW4Row, columns), to = panel_shape(WeightLayout::kW8Row, columns);
  const __m512i low = _mm512_set1_epi8(15);
  for (size_t panel = 0; panel < count; ++panel) {
    const std::byte* block = panels + panel * from.bytes;
    std::byte* out = wide + panel * to.bytes;
    std::memcpy(out, block, from.blocks);
    block += from.blocks;
    out += to.blocks;
    for (uint32_t b = 0; b < columns / kBlockColumns; ++b, block += from.block_bytes, out += to.block_bytes) {
      prefetch_block(block);
      for (size_t j = 0; j < 4; ++j) {
        const __m512i pair = _mm512_loadu_si512(block + 64 * j);
        _mm512_storeu_si512(out + 64 * j, _mm512_and_si512(pair, low));
        _mm512_storeu_si512(out + 64 * (j + 4), _mm512_and_si512(_mm512_srli_epi16(pair, 4), low));
      }
    }
  }
}

WidenPanels widen_steps_avx512(WeightLayout layout) {
  if (layout == WeightLayout::kW4G32) return widen_steps<WeightLayout::kW4G32, 32>;
  if (layout == WeightLayout::kW4G64) return widen_steps<WeightLayout::kW4G64, 64>;
  return widen_steps<WeightLayout::kW4G128, 128>;
}

void widen_w4_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  widen<WeightLayout::kW4, WeightLayout::kW8, 120>(panels, count, columns, wide);
}

void widen_w4m_avx512(const std::byte* panels, size_t count, uint32_t columns, std::byte* wide) {
  widen<WeightLayout::kW4m, WeightLayout::kW8m, 0>(panels, count, columns, wide);
}

}  // namespace loci::detail
