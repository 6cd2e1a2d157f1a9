#include "cache/gather.h"

#include <algorithm>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

template <typename Copy>
void gather(const Table& table, size_t head_index, std::span<const uint32_t> slots, std::byte* pages, uint32_t first,
            Copy copy) {
  uint32_t in_page[kPageSlots];
  for (size_t i = 0; i < slots.size();) {
    const uint32_t place = first + static_cast<uint32_t>(i), stripe = slots[i] / kPageSlots;
    const size_t room = std::min<size_t>(slots.size() - i, kPageSlots - place % kPageSlots);
    size_t count = 0;
    for (; count < room && slots[i + count] / kPageSlots == stripe; ++count)
      in_page[count] = slots[i + count] % kPageSlots;
    copy(table.layout(), table.page_of(SlotId(slots[i]), head_index), std::span<const uint32_t>(in_page, count),
         pages + size_t{place / kPageSlots} * table.layout().bytes, place % kPageSlots);
    i += count;
  }
}

}  // namespace

void gather_entries(const Table& table, size_t head_index, std::span<const uint32_t> slots, std::byte* pages,
                    uint32_t first) {
  gather(table, head_index, slots, pages, first, copy_entries);
}

void gather_values(const Table& table, size_t head_index, std::span<const uint32_t> slots, std::byte* pages,
                   uint32_t first) {
  gather(table, head_index, slots, pages, first, copy_values);
}

}  // namespace loci
