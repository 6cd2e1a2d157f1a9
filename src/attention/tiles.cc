#include "attention/tiles.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"
#include "base/checked.h"

namespace loci {

uint32_t Tile::blocks() const {
  if (selected) {
    return page_count + static_cast<uint32_t>(div_up(copy_count, kPageSlots)) +
           static_cast<uint32_t>(div_up(slots.size(), size_t{kPageSlots}));
  }
  return sink_blocks + (last_block - first_block);
}

std::pair<uint32_t, uint32_t> Tile::item_blocks(uint32_t item) const {
  if (selected) return {item * kItemBlocks, std::min(blocks(), (item + 1) * kItemBlocks)};
  if (item < sink_items()) return {item * kItemBlocks, std::min(sink_blocks, (item + 1) * kItemBlocks)};
  const uint32_t number = first_item() + (item - sink_items());
  const uint32_t begin = std::max(first_block, number * kItemBlocks);
  const uint32_t end = std::min(last_block, (number + 1) * kItemBlocks);
  return {sink_blocks + (begin - first_block), sink_blocks + (std::max(begin, end) - first_block)};
}

uint32_t Tile::segments() const { return segment_of(items - 1) + 1; }

uint32_t Tile::segment_of(uint32_t item) const {
  if (selected || item < sink_items()) return item / kSegmentItems;
  const uint32_t number = first_item() + (item - sink_items());
  return sink_segments() + number / kSegmentItems - first_item() / kSegmentItems;
}

uint32_t Tile::segment_begin(uint32_t segment) const {
  if (selected) return std::min(items, segment * kSegmentItems);
  if (segment < sink_segments()) return segment * kSegmentItems;
  const uint32_t number = (first_item() / kSegmentItems + (segment - sink_segments())) * kSegmentItems;
  return std::min(items, sink_items() + (std::max(number, first_item()) - first_item()));
}

void TileList::add(Tile tile) {
  tile.items_before = items();
  most_rows_ = std::max(most_rows_, tile.rows());
  tiles_.push_back(tile);
}

void TileList::add_patterns(const Read& read, const Sizes& sizes, const ReadKernel& kernel) {
  const Table& table = *read.table;
  const uint32_t end = read.first_position.value + read.rows;
  const uint32_t tile_positions = read.phase == ReadPhase::kDecode ? 1 : sizes.positions;
  for (uint32_t h = 0; h < table.heads().size(); ++h) {
    for (uint32_t position = read.first_position.value; position < end;) {
      const uint32_t next = std::min(end, (position / tile_positions + 1) * tile_positions);
      Tile tile;
      tile.read = &read;
      tile.kernel = &kernel;
      tile.head_index = h;
      tile.query_head = table.heads()[h].value * sizes.group;
      tile.heads = sizes.group;
      tile.first_row = read.first_row + (position - read.first_position.value);
      tile.positions = next - position;
      tile.first_position = TokenPos(position);
      const uint32_t sinks = table.slots_before(TokenPos(std::min(read.slots.sinks, next)));
      const uint32_t oldest = table.slots_before(TokenPos(read.slots.oldest(position)));
      tile.sink_blocks = static_cast<uint32_t>(div_up(sinks, kPageSlots));
      tile.first_block = oldest / kPageSlots;
      tile.last_block =
          std::max(tile.first_block, static_cast<uint32_t>(div_up(table.slots_before(TokenPos(next)), kPageSlots)));
      // A tile that sees nothing has an empty item of its own.
      tile.items = static_cast<uint32_t>(div_up(tile.sink_blocks, kItemBlocks)) +
                   std::max(1u, static_cast<uint32_t>(div_up(tile.last_block, kItemBlocks)) -
                                    std::min(static_cast<uint32_t>(div_up(tile.last_block, kItemBlocks)),
                                             tile.first_block / kItemBlocks));
      add(tile);
      position = next;
    }
  }
}

namespace {

// Those of a row of the selection.
Rows scores_of(const Selection& selection, const Rows& scores, size_t row, uint32_t heads) {
  if (scores.data == nullptr) return {};
  LOCI_ASSERT(selection.tile == 1, "scores are of one row");
  return {scores.data + row * heads * scores.stride, heads, scores.width, scores.stride};
}

}  // namespace

void TileList::add_selections(const Read& read, const Sizes& sizes, const ReadKernel& kernel) {
  LOCI_ASSERT(read.slots.dense(), "what is selected from is there as a whole");
  const Selection& selection = *read.selection;
  const uint32_t heads = sizes.group / selection.parts;
  const uint32_t first = read.first_position.value;
  const uint32_t end = first + read.rows;
  const uint32_t tiles = selection.tiles(first, read.rows);
  const uint32_t step = std::min(selection.tile, std::bit_floor(std::max(1u, sizes.tile_rows / heads)));
  for (uint32_t h = 0; h < read.table->heads().size(); ++h) {
    for (uint32_t part = 0; part < selection.parts; ++part) {
      for (uint32_t position = first; position < end;) {
        const uint32_t next = std::min(end, (position / step + 1) * step);
        const size_t row = selection.row(h, part, position / selection.tile - first / selection.tile, tiles);
        Tile tile;
        tile.read = &read;
        tile.kernel = &kernel;
        tile.head_index = h;
        tile.query_head = read.table->heads()[h].value * sizes.group + part * heads;
        tile.heads = heads;
        tile.first_row = read.first_row + (position - first);
        tile.positions = next - position;
        tile.first_position = TokenPos(position);
        tile.selected = true;
        tile.first_page = static_cast<uint32_t>(pages_.size());
        if (selection.pages.words != nullptr) {
          const std::span<const uint64_t> words = selection.pages.row(row);
          for (size_t w = 0; w < words.size(); ++w) {
            for (uint64_t bits = words[w]; bits != 0; bits &= bits - 1)
              pages_.push_back(static_cast<uint32_t>(w * 64) + static_cast<uint32_t>(std::countr_zero(bits)));
          }
          // Pages that begin behind the tile's last row hold nothing for it.
          const uint32_t visible = static_cast<uint32_t>(div_up(read.table->slots_before(TokenPos(next)), kPageSlots));
          while (pages_.size() > tile.first_page && pages_.back() >= visible) pages_.pop_back();
        }
        tile.page_count = static_cast<uint32_t>(pages_.size()) - tile.first_page;
        if (selection.copies.pages != nullptr) {
          tile.copies = selection.copies.pages[row];
          tile.copy_count = selection.copies.counts[row];
          tile.copy_positions = selection.copies.positions[row];
        }
        if (selection.slots.elements != nullptr)
          tile.slots = selection.slots.row(selection.slot_row(h, part, position, first, read.rows));
        if (selection.prior.pages.words != nullptr) tile.read_before = selection.prior.pages.row(row);
        tile.scores = scores_of(selection, selection.scores, row, heads);
        tile.copy_scores = scores_of(selection, selection.copies.scores, row, heads);
        LOCI_ASSERT(tile.scores.data == nullptr || tile.scores.width >= round_up(read.table->length(), kPageSlots),
                    "scores have columns for whole pages");
        LOCI_ASSERT(tile.copy_scores.data == nullptr || tile.copy_scores.width >= round_up(tile.copy_count, kPageSlots),
                    "scores of copies have columns for whole pages");
        tile.items = std::max(1u, static_cast<uint32_t>(div_up(tile.blocks(), kItemBlocks)));
        add(tile);
        position = next;
      }
    }
  }
}

void TileList::fill(std::span<const Read> reads, const Sizes& sizes, Isa isa) {
  tiles_.clear();
  pages_.clear();
  most_rows_ = 0;
  for (const Read& read : reads) {
    const ReadKernel& kernel = read_kernel(isa, read.table->layout().codec, read.phase, sizes.precision);
    if (read.selection == nullptr) {
      add_patterns(read, sizes, kernel);
    } else {
      add_selections(read, sizes, kernel);
    }
  }
}

TileBlock TileList::block(const Tile& tile, uint32_t block) const {
  if (tile.selected) {
    if (block < tile.page_count) return {TileBlock::Kind::kPage, pages_[tile.first_page + block]};
    block -= tile.page_count;
    const uint32_t copied = static_cast<uint32_t>(div_up(tile.copy_count, kPageSlots));
    if (block < copied) return {TileBlock::Kind::kCopies, block};
    return {TileBlock::Kind::kSlots, (block - copied) * kPageSlots};
  }
  if (block < tile.sink_blocks) return {TileBlock::Kind::kSinks, block};
  return {TileBlock::Kind::kPage, tile.first_block + (block - tile.sink_blocks)};
}

uint64_t TileList::bytes(const Tile& tile) const {
  const uint64_t page = tile.read->table->layout().bytes;
  if (!tile.selected) return tile.blocks() * page;
  // Half of an entry is its key, which is not read where the score is known.
  const uint64_t paged = tile.scores.data == nullptr ? page : page / 2;
  const uint64_t copied = tile.copy_scores.data == nullptr ? page : page / 2;
  return tile.page_count * paged + (tile.slots.size() * paged + tile.copy_count * copied) / kPageSlots;
}

uint64_t TileList::visible(const Tile& tile) const {
  const Table& table = *tile.read->table;
  const Pattern& pattern = tile.read->slots;
  uint64_t pairs = 0;
  for (uint32_t i = 0; i < tile.positions; ++i) {
    const uint32_t position = tile.first_position.value + i;
    const uint32_t length = table.slots_before(TokenPos(position + 1));
    if (!tile.selected) {
      const uint32_t sinks = table.slots_before(TokenPos(std::min(pattern.sinks, position + 1)));
      const uint32_t oldest = table.slots_before(TokenPos(pattern.oldest(position)));
      pairs += sinks + (length - std::min(oldest, length));
      continue;
    }
    pairs += tile.slots.size() + tile.copy_count;
    for (uint32_t p = 0; p < tile.page_count; ++p) {
      const uint32_t begin = pages_[tile.first_page + p] * kPageSlots;
      pairs += std::min(kPageSlots, length - std::min(begin, length));
    }
  }
  return pairs * tile.heads;
}

}  // namespace loci
