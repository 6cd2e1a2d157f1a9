// Tiles: the query rows of one KV head (or of some of its query heads) that share a walk over its entries, and the
// blocks, items and segments of that walk, whose borders depend on the read alone.
//
// A pattern is walked in two stretches, its sinks and the rest. Blocks are pages; items are cut where the page's number
// is a multiple of kItemBlocks, segments where the item's is one of kSegmentItems. A selection is walked by rank: its
// pages, then its copies, then its slots in gathered blocks of 64, items and segments by rank. Blocks, items and
// segments of a tile are numbered from 0 here. Plain data that refers to the reads; one thread makes it, workers read
// it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/read.h"

namespace loci {

inline constexpr uint32_t kItemBlocks = 8;    // 512 slots
inline constexpr uint32_t kSegmentItems = 8;  // 4096 slots

struct Tile {
  const Read* read = nullptr;
  const ReadKernel* kernel = nullptr;
  uint32_t head_index = 0;  // in the table's class
  uint32_t query_head = 0;  // the first of `heads`
  uint32_t heads = 0;       // query heads per position
  uint32_t first_row = 0;   // in the batch
  uint32_t positions = 0;
  TokenPos first_position{0};

  // A pattern's blocks: the table's pages [0, sink_blocks) and [first_block, last_block).
  uint32_t sink_blocks = 0;
  uint32_t first_block = 0;
  uint32_t last_block = 0;
  // A selection's: indices of pages in TileList::pages, then copies, then slots.
  bool selected = false;
  uint32_t first_page = 0;
  uint32_t page_count = 0;
  const std::byte* copies = nullptr;  // consecutive pages of `copy_count` entries
  uint32_t copy_count = 0;
  const uint32_t* copy_positions = nullptr;  // by place
  std::span<const uint32_t> slots = {};
  std::span<const uint64_t> read_before = {};  // pages of Selection::prior, a bit each
  // Of what is selected, by query head of the tile; without data: not known.
  Rows scores = {};       // by slot
  Rows copy_scores = {};  // by place

  uint32_t items = 0;
  uint64_t items_before = 0;  // of earlier tiles
  // Of a tile whose items more than one worker folds: index into the executor's segment and arrival lists.
  bool split = false;
  uint32_t segment_states = 0;
  uint32_t arrival = 0;

  size_t rows() const { return size_t{positions} * heads; }
  uint32_t blocks() const;
  // Blocks [first, second) of an item.
  std::pair<uint32_t, uint32_t> item_blocks(uint32_t item) const;
  uint32_t segments() const;
  uint32_t segment_of(uint32_t item) const;
  uint32_t segment_begin(uint32_t segment) const;  // its first item; of segments(): items

 private:
  uint32_t sink_items() const { return (sink_blocks + kItemBlocks - 1) / kItemBlocks; }
  uint32_t sink_segments() const { return (sink_items() + kSegmentItems - 1) / kSegmentItems; }
  uint32_t first_item() const { return first_block / kItemBlocks; }
};

// A tile's block.
struct TileBlock {
  enum class Kind : uint8_t { kSinks, kPage, kCopies, kSlots } kind;
  uint32_t index;  // of the page, the table's or the copies'; of the first slot in the tile's list
};

class TileList;

// Looks at what is read, layer by layer. Called by the engine's thread after each main read.
class ReadListener {
 public:
  virtual ~ReadListener() = default;
  virtual void on_read(LayerId layer, const TileList& tiles) = 0;
};

class TileList {
 public:
  struct Sizes {
    uint32_t group = 1;      // query heads per KV head
    uint32_t tile_rows = 1;  // at most
    uint32_t positions = 1;  // of a prompt's tile that reads a pattern
    ReadPrecision precision = ReadPrecision::kFast;
  };

  void fill(std::span<const Read> reads, const Sizes& sizes, Isa isa);

  std::vector<Tile>& tiles() { return tiles_; }
  const std::vector<Tile>& tiles() const { return tiles_; }
  uint64_t items() const { return tiles_.empty() ? 0 : tiles_.back().items_before + tiles_.back().items; }
  size_t most_rows() const { return most_rows_; }  // of a tile
  TileBlock block(const Tile& tile, uint32_t block) const;
  // Bytes of the entries that the tile walks over, and pairs of a row and an entry that it sees.
  uint64_t bytes(const Tile& tile) const;
  uint64_t visible(const Tile& tile) const;

 private:
  void add_patterns(const Read& read, const Sizes& sizes, const ReadKernel& kernel);
  void add_selections(const Read& read, const Sizes& sizes, const ReadKernel& kernel);
  void add(Tile tile);

  std::vector<Tile> tiles_;
  std::vector<uint32_t> pages_;  // of selected tiles
  size_t most_rows_ = 0;
};

}  // namespace loci
