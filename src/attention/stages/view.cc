#include "attention/stages/view.h"

#include <algorithm>

#include "base/checked.h"

namespace loci {

uint32_t ReadBuilder::rows(const View& view, size_t table) const {
  const Selection& selection = selections_[table];
  return static_cast<uint32_t>(view.tables()[table].heads().size()) * selection.parts *
         selection.tiles(view.first_position, view.rows());
}

Selection& ReadBuilder::prepare(const View& view, size_t table, uint32_t tile, uint32_t parts) {
  LOCI_ASSERT(mine_[table], "a method selects for the heads that ask it");
  LOCI_ASSERT((tile & (tile - 1)) == 0 && view.model.group() % parts == 0, "tiles and parts divide what they cut");
  selections_[table] = {.tile = tile, .parts = parts, .pages = {}, .slots = {}, .copies = {}, .scores = {}};
  return selections_[table];
}

Selection& ReadBuilder::select_copies(const View& view, size_t table, std::span<const std::byte* const> pages,
                                      std::span<const std::span<const uint32_t>> positions) {
  Selection& out = prepare(view, table, 1, 1);
  const uint32_t count = rows(view, table);
  LOCI_ASSERT(view.rows() == 1 && pages.size() == count && positions.size() == count, "copies are of one row's heads");
  out.copies = {.pages = ops_.scratch.take<const std::byte*>(count).data(),
                .counts = ops_.scratch.take<uint32_t>(count).data(),
                .positions = ops_.scratch.take<const uint32_t*>(count).data()};
  std::copy(pages.begin(), pages.end(), out.copies.pages);
  for (uint32_t i = 0; i < count; ++i) {
    out.copies.counts[i] = static_cast<uint32_t>(positions[i].size());
    out.copies.positions[i] = positions[i].data();
  }
  return out;
}

Selection& ReadBuilder::select_pages(const View& view, size_t table, uint32_t tile, uint32_t parts) {
  Selection& out = prepare(view, table, tile, parts);
  const uint32_t width = static_cast<uint32_t>(div_up(view.tables()[table].length(), kPageSlots));
  out.pages = {.words = ops_.scratch.take<uint64_t>(rows(view, table) * Masks::words_of(width)).data(),
               .rows = rows(view, table),
               .width = width};
  std::fill_n(out.pages.words, out.pages.rows * out.pages.row_words(), 0);
  return out;
}

Selection& ReadBuilder::select_slots(const View& view, size_t table, uint32_t tile, uint32_t parts, uint32_t capacity) {
  prepare(view, table, tile, parts);
  add_slots(view, table, capacity);
  return selections_[table];
}

void ReadBuilder::add_slots(const View& view, size_t table, uint32_t capacity, uint32_t slot_tile) {
  Selection& selection = selections_[table];
  LOCI_ASSERT(slot_tile % selection.tile == 0, "lists are shared by whole tiles");
  selection.slot_tile = slot_tile;
  const uint32_t count = static_cast<uint32_t>(view.tables()[table].heads().size()) * selection.parts *
                         selection.slot_rows(view.first_position, view.rows());
  selection.slots = {.elements = ops_.scratch.take<uint32_t>(size_t{count} * capacity).data(),
                     .counts = ops_.scratch.take<uint32_t>(count).data(),
                     .rows = count,
                     .capacity = capacity};
  std::fill_n(selection.slots.counts, count, 0);
}

}  // namespace loci
