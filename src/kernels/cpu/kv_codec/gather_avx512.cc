#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/kv_codec/gather.h"

namespace loci {
namespace {

// Keys of kv16 lie across slots: of each dimension's 64, a run's are permuted to the front and stored behind those of
// the runs before. What a store writes too much lies where later runs, dimensions and values go.
void gather_keys(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots, std::byte* to) {
  constexpr size_t kRow = kPageSlots * 2;
  uint32_t first = 0;
  __m512i place[kPageSlots];
  struct Part {
    const std::byte* page;
    uint32_t first;
  } part[kPageSlots];
  size_t parts = 0;
  for (const EntryRun& run : runs) {
    for (uint32_t i = 0; i < run.count; i += 32) {
      place[parts] = _mm512_loadu_si512(slots.at + first + i);
      part[parts++] = {run.page, first + i};
    }
    first += run.count;
  }
  for (size_t d = 0; d < layout.padded_dim; ++d) {
    for (size_t p = 0; p < parts; ++p) {
      const std::byte* from = part[p].page + d * kRow;
      const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 64);
      _mm512_storeu_si512(to + d * kRow + part[p].first * 2, _mm512_permutex2var_epi16(low, place[p], high));
    }
  }
}

void gather_values(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots, std::byte* to) {
  uint32_t slot = 0;
  for (const EntryRun& run : runs) {
    for (uint32_t end = slot + run.count; slot < end; ++slot) {
      for (uint32_t d = 0; d < layout.padded_dim; d += kCodeGroup) {
        std::memcpy(to + value_half(layout, slot, d), run.page + value_half(layout, slots.at[slot], d), kCodeGroup * 2);
      }
    }
  }
}

}  // namespace

void detail::gather_avx512(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots,
                           std::byte* to) {
  if (layout.codec != KvCodec::kKv16) {
    gather_scalar(layout, runs, slots, to);
    return;
  }
  gather_keys(layout, runs, slots, to);
  gather_values(layout, runs, slots, to);
}

}  // namespace loci
