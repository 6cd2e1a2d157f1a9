#include "kernels/cpu/kv_codec/gather.h"

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {

void detail::gather_scalar(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots,
                           std::byte* to) {
  uint32_t slot = 0;
  for (const EntryRun& run : runs) {
    for (uint32_t end = slot + run.count; slot < end; ++slot) copy_entry(layout, run.page, slots.at[slot], to, slot);
  }
}

GatherEntries gather_entries(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::gather_avx512;
#else
  static_cast<void>(isa);
#endif
  return detail::gather_scalar;
}

}  // namespace loci
