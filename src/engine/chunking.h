// How prompts are cut into passes: whole cells of the plan, and at the prompt's end at least as many rows as its
// methods look back at. Chunks of a page and more end on page borders where they can, so that a window's pages and a
// chunk's are as few as may be. What is computed does not depend on the cut.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cache/ids.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

struct Chunking {
  uint32_t chunk = 512;   // rows of a pass, at least a cell
  uint32_t cell = 1;      // tokens; chunks end on its multiples, or with the prompt
  uint32_t lookback = 0;  // rows of a prompt's last chunk, at least
  // Prompts of up to so many tokens are cut as if there were no cells, because nothing is decided in them.
  uint32_t idle_until = 0;
  uint32_t idle_chunk = 512;  // rows of a pass of theirs, at most `chunk`

  // Prompt rows that one sequence may bring into a pass: a chunk, or at the prompt's end what rows() cannot cut.
  uint32_t most_rows() const { return std::max(chunk, cell + std::max(lookback, 1u) - 1); }
  // Positions from the page border before a pass's first row to its last row, at most.
  uint32_t most_span() const { return on_pages() ? most_rows() : most_rows() + kPageSlots - 1; }

  // Rows of a prompt with `unfed` tokens from `position` on that a pass takes in which `used` rows of prompts are
  // taken. 0: not in this pass; never if it has none yet.
  uint32_t rows(uint32_t position, uint32_t unfed, uint32_t used) const {
    if (cell > 1 && uint64_t{position} + unfed <= idle_until)
      return Chunking{.chunk = idle_chunk, .lookback = lookback}.rows(position, unfed, used);
    const uint32_t taken = used + (on_pages() ? position % kPageSlots : 0);
    const uint32_t room = taken < chunk ? chunk - taken : 0;
    if (unfed <= room) return unfed;
    const uint32_t longest = std::min(room, unfed > lookback ? unfed - lookback : 0);
    const uint32_t end = (position + longest) / cell * cell;
    if (on_pages() && end / kPageSlots * kPageSlots > position) return end / kPageSlots * kPageSlots - position;
    if (end > position) return end - position;
    // The last cell is too long to be cut and to leave the rows that are looked back at.
    return used == 0 && unfed <= most_rows() ? unfed : 0;
  }

  // Tokens of a prompt of `prompt` tokens that may come from an earlier one with the same beginning.
  uint32_t most_shared(uint32_t prompt) const {
    const uint32_t left = std::max(1u, lookback);
    return prompt > left ? (prompt - left) / cell * cell : 0;
  }

 private:
  bool on_pages() const { return chunk >= kPageSlots && (cell == 1 || cell % kPageSlots == 0); }
};

}  // namespace loci
