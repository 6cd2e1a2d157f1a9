// One head's selected entries side by side, kept from step to step: only what changed is copied. Belongs to a sequence
// as something derived (sequence_state.h); one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "cache/table.h"

namespace loci {

class Copies {
 public:
  // Place i holds the entry at positions[i] of the table's `head_index`-th head, for all i; at most `capacity`.
  void bring(const Table& table, size_t head_index, std::span<const uint32_t> positions, uint32_t capacity, Isa isa);

  const std::byte* pages() const { return reinterpret_cast<const std::byte*>(lines_.data()); }
  std::span<const uint32_t> positions() const { return held_; }  // by place, until the next bring()

  static uint64_t bytes(uint32_t page_bytes, uint32_t capacity);

 private:
  void bring_page(const Table& table, size_t head_index, std::span<const uint32_t> positions, size_t page, Isa isa);

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;  // zeroed, so places that were never filled hold no NaN
  std::vector<uint32_t> held_;
};

}  // namespace loci
