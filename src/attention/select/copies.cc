#include "attention/select/copies.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checked.h"
#include "cache/gather.h"
#include "kernels/cpu/kv_codec/gather.h"

namespace loci {
namespace {

constexpr size_t kManyChanges = 8;  // of a page, from which all of it is gathered anew

}  // namespace

uint64_t Copies::bytes(uint32_t page_bytes, uint32_t capacity) {
  return uint64_t{page_bytes} * div_up(uint64_t{capacity}, uint64_t{kPageSlots});
}

void Copies::bring(const Table& table, size_t head_index, std::span<const uint32_t> positions, uint32_t capacity,
                   Isa isa) {
  LOCI_ASSERT(positions.size() <= capacity, "copies have room for what was planned");
  const uint64_t wanted = bytes(table.layout().bytes, capacity) / sizeof(Line);
  if (lines_.size() != wanted) {
    lines_.assign(wanted, Line{});
    held_.clear();
  }
  const auto changed = [&](size_t place) { return place >= held_.size() || held_[place] != positions[place]; };
  for (size_t first = 0; first < positions.size(); first += kPageSlots) {
    const size_t count = std::min<size_t>(kPageSlots, positions.size() - first);
    size_t changes = 0;
    for (size_t i = first; i < first + count; ++i) changes += changed(i) ? 1 : 0;
    if (changes >= kManyChanges) {
      bring_page(table, head_index, positions.subspan(first, count), first / kPageSlots, isa);
      continue;
    }
    for (size_t i = first; i < first + count && changes > 0; ++i) {
      if (!changed(i)) continue;
      const uint32_t slot = table.slots_before(TokenPos(positions[i]));
      gather_entries(table, head_index, {&slot, 1}, reinterpret_cast<std::byte*>(lines_.data()),
                     static_cast<uint32_t>(i));
      --changes;
    }
  }
  held_.assign(positions.begin(), positions.end());
}

// All entries of one page of copies, run by run of the pages that they come from.
void Copies::bring_page(const Table& table, size_t head_index, std::span<const uint32_t> positions, size_t page,
                        Isa isa) {
  EntrySlots slots;
  EntryRun runs[kPageSlots];
  size_t used = 0;
  uint32_t last_page = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const uint32_t slot = table.slots_before(TokenPos(positions[i]));
    slots.at[i] = static_cast<uint16_t>(slot % kPageSlots);
    if (i == 0 || slot / kPageSlots != last_page) runs[used++] = {table.page_of(SlotId(slot), head_index), 0};
    last_page = slot / kPageSlots;
    ++runs[used - 1].count;
  }
  std::byte* to = reinterpret_cast<std::byte*>(lines_.data()) + page * table.layout().bytes;
  gather_entries(isa)(table.layout(), {runs, used}, slots, to);
}

}  // namespace loci
