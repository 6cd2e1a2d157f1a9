// Entries of a table side by side: what is selected slot by slot is copied into pages that kernels read as a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/table.h"

namespace loci {

// Copies `slots` of the table's `head_index`-th head to places first, first + 1, ... of consecutive pages of its
// layout. Slots in ascending order cost least: a source page is walked through once.
void gather_entries(const Table& table, size_t head_index, std::span<const uint32_t> slots, std::byte* pages,
                    uint32_t first);
// The same for values alone.
void gather_values(const Table& table, size_t head_index, std::span<const uint32_t> slots, std::byte* pages,
                   uint32_t first);

}  // namespace loci
