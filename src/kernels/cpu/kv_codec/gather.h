// Single entries of many pages, side by side as a page that decodes like any other: reads of listed slots.
//
// The bytes are those of copy_entry on every instruction set; slots of the new page beyond the gathered ones hold
// finite numbers without meaning, if they did so before. Cost: with AVX-512 and kv16 about four instructions a run and
// dimension, so neighbouring slots come nearly for free; otherwise some 2 * head_dim a slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// So many entries of one page.
struct EntryRun {
  const std::byte* page;
  uint32_t count;
};

// Where a gather's entries stand in their pages; readers load beyond the last.
struct EntrySlots {
  uint16_t at[kPageSlots + 32] = {};
};

// At most 64 entries become slots 0, 1, ... of `to`, run by run in the order of `slots`.
using GatherEntries = void (*)(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots,
                               std::byte* to);
GatherEntries gather_entries(Isa isa);

namespace detail {
void gather_scalar(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots, std::byte* to);
void gather_avx512(const PageLayout& layout, std::span<const EntryRun> runs, const EntrySlots& slots, std::byte* to);
}  // namespace detail

}  // namespace loci
