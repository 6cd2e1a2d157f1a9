// A read: what some query rows attend to. Methods name reads; the executor performs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/primitives/arrays.h"
#include "cache/ids.h"
#include "cache/pattern.h"
#include "cache/table.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "tensor/rows.h"

namespace loci {

// Entries of a table copied side by side, for lists that live longer than a step: they are read at the speed of pages.
struct EntryCopies {
  const std::byte** pages = nullptr;     // per row: consecutive pages of the table's layout. Null: none
  uint32_t* counts = nullptr;            // per row: entries
  const uint32_t** positions = nullptr;  // per row: of the entries, by place
  // Scaled scores by place, where a method knows them, in the rows of Selection::scores, with columns for whole pages.
  // Keys are not read then.
  Rows scores = {};
};

// What reads went over.
struct ReadWork {
  uint64_t bytes = 0;  // of entries, once for every tile that walks over them
  uint64_t macs = 0;   // of visible entries: scores and weighted values
};

// What rows have read of a table before, such as what a method judged the rest by: folded into the read's result like
// an entry whose score is the lse and whose value the output.
struct PriorRead {
  Rows o = {};                      // [rows of the read, query_heads * head_dim]. Without data: none
  std::span<const float> lse = {};  // [rows, query_heads]; -inf: the row's head has read nothing
  Masks pages = {};                 // the pages that it went over, in the rows of Selection::pages
  ReadWork work = {};
};

// What of a table each tile of rows reads: whole pages, copies, single slots, or several of them, which have no slot in
// common. Rows of the arrays are [head of the table][part of its group][tile]: tiles are absolute, the first of them
// holds the read's first position. Listed and copied slots are not behind any row of their tile; of a page a row sees
// what lies before it.
struct Selection {
  uint32_t tile = 1;   // positions of a tile, a power of two
  uint32_t parts = 1;  // the group's query heads, cut into so many equal runs, each with a choice of its own
  Masks pages;         // width: the table's pages. Without words: none
  Lists slots;         // without elements: none
  // Positions that share a row of `slots`, a multiple of `tile`, absolute as well. 0: those of a tile.
  uint32_t slot_tile = 0;
  EntryCopies copies = {};
  // Unscaled scores by slot, where a method knows those of all that is selected: row r * (group / parts) + query head
  // of its part, with columns for whole pages. Keys are not read then. Tiles of one position; without data: not known.
  Rows scores = {};
  PriorRead prior = {};

  size_t row(size_t head_index, uint32_t part, uint32_t tile_index, uint32_t tiles) const {
    return (head_index * parts + part) * tiles + tile_index;
  }
  // Tiles that positions [first, first + rows) touch.
  uint32_t tiles(uint32_t first, uint32_t rows) const { return spans(tile, first, rows); }

  // The row of `slots` of a position in such a read.
  size_t slot_row(size_t head_index, uint32_t part, uint32_t position, uint32_t first, uint32_t rows) const {
    const uint32_t each = slot_tile == 0 ? tile : slot_tile;
    return row(head_index, part, position / each - first / each, spans(each, first, rows));
  }
  uint32_t slot_rows(uint32_t first, uint32_t rows) const {
    return spans(slot_tile == 0 ? tile : slot_tile, first, rows);
  }

 private:
  static uint32_t spans(uint32_t each, uint32_t first, uint32_t rows) {
    return (first + rows - 1) / each - first / each + 1;
  }
};

// An entry beside a head's table, such as a compensation token: fp32, counted exp(log_weight) times.
struct ExtraEntry {
  const float* key = nullptr;  // [head_dim], as queries meet it: rotated by position, not by a codec. Null: none
  const float* value = nullptr;
  float log_weight = 0;
};

// Consecutive rows of one sequence over one of its tables, for all heads of the table's class.
struct Read {
  const Table* table = nullptr;
  uint32_t first_row = 0;  // in the batch
  uint32_t rows = 0;
  TokenPos first_position{0};  // of the first row; the others follow
  Pattern slots;
  PartId part{0};
  ReadPhase phase = ReadPhase::kPrompt;
  const Selection* selection = nullptr;     // null: the whole pattern
  std::span<const ExtraEntry> extras = {};  // one per head of the table, or none
};

}  // namespace loci
