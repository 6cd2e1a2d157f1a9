#include "attention/select/copies.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checked.h"
#include "cache/gather.h"

namespace loci {

uint64_t Copies::bytes(uint32_t page_bytes, uint32_t capacity) {
  return uint64_t{page_bytes} * div_up(uint64_t{capacity}, uint64_t{kPageSlots});
}

void Copies::bring(const Table& table, size_t head_index, std::span<const uint32_t> positions, uint32_t capacity) {
  LOCI_ASSERT(positions.size() <= capacity, "copies have room for what was planned");
  const uint64_t wanted = bytes(table.layout().bytes, capacity) / sizeof(Line);
  if (lines_.size() != wanted) {
    lines_.assign(wanted, Line{});
    held_.clear();
  }
  std::vector<uint32_t> slots;
  for (size_t i = 0; i < positions.size();) {
    slots.clear();
    for (size_t j = i; j < positions.size() && (j >= held_.size() || held_[j] != positions[j]); ++j)
      slots.push_back(table.slots_before(TokenPos(positions[j])));
    if (!slots.empty()) {
      gather_entries(table, head_index, slots, reinterpret_cast<std::byte*>(lines_.data()), static_cast<uint32_t>(i));
    }
    i += slots.size() + 1;
  }
  held_.assign(positions.begin(), positions.end());
}

}  // namespace loci
