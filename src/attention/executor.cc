#include "attention/executor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/assert.h"
#include "base/checked.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr uint32_t kItemBlocks = 8;    // 512 slots
constexpr uint32_t kSegmentItems = 8;  // 4096 slots
constexpr uint32_t kTargetTileRows = 64;
constexpr uint32_t kRangesPerThread = 4;
constexpr size_t kVisibleFloats = sizeof(VisibleSlots) / sizeof(float);
constexpr uint32_t kWholeTilesFrom = 2;  // tiles per range from which tiles are not split

size_t state_floats(size_t rows, size_t dim) { return rows * (dim + 2); }

SoftmaxState state_at(float* memory, size_t rows) { return {memory, memory + rows, memory + 2 * rows}; }

}  // namespace

// Query rows of one KV head that share a walk over its entries.
struct Executor::Tile {
  uint32_t read = 0;
  uint32_t head_index = 0;  // in the table's class
  uint32_t first_row = 0;   // in the batch
  uint32_t positions = 0;
  TokenPos first_position{0};
  uint32_t first_block = 0;  // blocks [first_block, last_block) are seen by some row
  uint32_t last_block = 0;
  uint32_t first_item = 0;  // items [first_item, last_item), absolute
  uint32_t last_item = 0;
  uint64_t items_before = 0;  // of earlier tiles
  // Of a split tile: index into segment_slots_ and arrivals_.
  bool split = false;
  uint32_t segment_slots = 0;
  uint32_t arrival = 0;
};

// Consecutive items, counted over all tiles.
struct Executor::Range {
  uint64_t first = 0;
  uint64_t last = 0;
  uint32_t first_tile = 0;
};

Executor::Executor() = default;
Executor::~Executor() = default;

WorkPlan Executor::plan(const ReadBounds& bounds, int threads) {
  WorkPlan plan;
  plan.group = bounds.query_heads / bounds.kv_heads;
  plan.head_dim = bounds.head_dim;
  plan.padded_dim = static_cast<uint32_t>(round_up(bounds.head_dim, kCodeGroup));
  plan.tile_positions = std::bit_floor(std::max(1u, kTargetTileRows / plan.group));
  plan.tile_rows = plan.tile_positions * plan.group;
  const size_t rows = plan.tile_rows;
  const size_t dim = plan.padded_dim;
  // Keys, values, queries, scores, visible slots, and the states of item, segment and tile.
  plan.worker_floats =
      2 * dim * kPageSlots + rows * dim + rows * kPageSlots + rows * kVisibleFloats + 3 * state_floats(rows, dim);
  const size_t ranges = size_t{kRangesPerThread} * static_cast<size_t>(threads);
  const size_t segments = div_up(bounds.slots, size_t{kPageSlots} * kItemBlocks * kSegmentItems) + 1;
  plan.partial_states = (ranges - 1) * (segments + kSegmentItems + 1);
  const size_t partial_floats = plan.partial_states * state_floats(rows, dim);
  plan.scratch_bytes = Workspace::bytes_of<float>(plan.worker_floats * static_cast<size_t>(threads)) +
                       Workspace::bytes_of<float>(partial_floats);
  return plan;
}

void Executor::list_tiles(const WorkPlan& plan, std::span<const Read> reads) {
  tiles_.clear();
  uint64_t items = 0;
  for (uint32_t r = 0; r < reads.size(); ++r) {
    const Read& read = reads[r];
    const uint32_t end = read.first_position.value + read.rows;
    for (uint32_t h = 0; h < read.table->heads().size(); ++h) {
      for (uint32_t position = read.first_position.value; position < end;) {
        const uint32_t next = std::min(end, (position / plan.tile_positions + 1) * plan.tile_positions);
        Tile tile;
        tile.read = r;
        tile.head_index = h;
        tile.first_row = read.first_row + (position - read.first_position.value);
        tile.positions = next - position;
        tile.first_position = TokenPos(position);
        const uint32_t window = read.slots.window;
        const TokenPos oldest(window == 0 || position < window ? 0 : position - window + 1);
        const uint32_t first_slot = read.table->slots_before(oldest);
        const uint32_t last_slot = read.table->slots_before(TokenPos(next));
        tile.first_block = first_slot / kPageSlots;
        tile.last_block = std::max(tile.first_block, static_cast<uint32_t>(div_up(last_slot, kPageSlots)));
        tile.first_item = tile.first_block / kItemBlocks;
        tile.last_item = std::max(tile.first_item + 1, static_cast<uint32_t>(div_up(tile.last_block, kItemBlocks)));
        tile.items_before = items;
        items += tile.last_item - tile.first_item;
        tiles_.push_back(tile);
        position = next;
      }
    }
  }
}

// Cuts the items into ranges of like size. With few tiles a border may fall inside a tile; then the tile's states are
// published, and the slots for them are laid out here.
void Executor::cut_ranges(const WorkPlan& plan, int threads) {
  ranges_.clear();
  segment_slots_.clear();
  arrival_count_ = 0;
  states_used_ = 0;
  if (tiles_.empty()) return;
  const uint64_t items = tiles_.back().items_before + (tiles_.back().last_item - tiles_.back().first_item);
  const uint64_t wanted =
      threads == 1 ? 1 : std::min<uint64_t>(items, uint64_t{kRangesPerThread} * static_cast<uint64_t>(threads));
  const bool whole_tiles = tiles_.size() >= wanted * kWholeTilesFrom;
  uint32_t tile = 0;
  uint64_t first = 0;
  for (uint64_t i = 1; i <= wanted && first < items; ++i) {
    uint64_t last = items * i / wanted;
    const uint32_t range_tile = tile;
    while (tile + 1 < tiles_.size() && tiles_[tile + 1].items_before <= last) ++tile;
    if (whole_tiles && i < wanted) last = tiles_[tile].items_before;
    if (last <= first) {
      tile = range_tile;
      continue;
    }
    ranges_.push_back({first, last, range_tile});
    if (last > tiles_[tile].items_before && i < wanted) tiles_[tile].split = true;
    first = last;
  }
  size_t border = 0;
  for (Tile& t : tiles_) {
    if (!t.split) continue;
    t.arrival = static_cast<uint32_t>(arrival_count_++);
    t.segment_slots = static_cast<uint32_t>(segment_slots_.size());
    for (uint32_t s = t.first_item / kSegmentItems; s <= (t.last_item - 1) / kSegmentItems; ++s) {
      const uint64_t begin = t.items_before + std::max(t.first_item, s * kSegmentItems) - t.first_item;
      const uint64_t until = t.items_before + std::min(t.last_item, (s + 1) * kSegmentItems) - t.first_item;
      while (border < ranges_.size() && ranges_[border].last <= begin) ++border;
      const bool cut = border < ranges_.size() && ranges_[border].last < until;
      // The top bit marks a segment whose items are published one by one.
      segment_slots_.push_back(static_cast<uint32_t>(states_used_) | (cut ? 0x80000000u : 0u));
      states_used_ += cut ? until - begin : 1;
    }
  }
  LOCI_ASSERT(states_used_ <= plan.partial_states, "the plan reserves room for every published state");
}

// One worker's way through a range. Holds its scratch.
class Executor::Worker {
 public:
  Worker(Executor& executor, const WorkPlan& plan, std::span<const Read> reads, const Rows& q, float scale, Rows out,
         std::span<float> lse, Isa isa, float* scratch, float* partials)
      : executor_(executor),
        plan_(plan),
        reads_(reads),
        q_(q),
        scale_(scale),
        out_(out),
        lse_(lse),
        attention_(attention_kernels(isa)),
        decode_(kv_decode_kernels(isa)),
        partials_(partials) {
    const size_t rows = plan.tile_rows;
    const size_t dim = plan.padded_dim;
    const auto take = [&scratch](size_t count) {
      float* block = scratch;
      scratch += count;
      return block;
    };
    keys_ = take(dim * kPageSlots);
    values_ = take(dim * kPageSlots);
    queries_ = take(rows * dim);
    scores_ = take(rows * kPageSlots);
    visible_ = reinterpret_cast<VisibleSlots*>(take(rows * kVisibleFloats));
    item_ = state_at(take(state_floats(rows, dim)), rows);
    segment_ = state_at(take(state_floats(rows, dim)), rows);
    total_ = state_at(take(state_floats(rows, dim)), rows);
  }

  void run(const Range& range) {
    for (uint32_t t = range.first_tile; t < executor_.tiles_.size(); ++t) {
      const Tile& tile = executor_.tiles_[t];
      if (tile.items_before >= range.last) break;
      const uint64_t count = tile.last_item - tile.first_item;
      if (tile.items_before + count <= range.first) continue;
      const uint64_t begin = std::max(range.first, tile.items_before) - tile.items_before;
      const uint64_t end = std::min(range.last - tile.items_before, count);
      fold_tile(tile, tile.first_item + static_cast<uint32_t>(begin), tile.first_item + static_cast<uint32_t>(end));
    }
  }

 private:
  size_t rows(const Tile& tile) const { return size_t{tile.positions} * plan_.group; }

  void fold_tile(const Tile& tile, uint32_t first_item, uint32_t last_item) {
    load_queries(tile);
    clear(total_, rows(tile), plan_.padded_dim);
    for (uint32_t item = first_item; item < last_item;) {
      const uint32_t segment = item / kSegmentItems;
      const uint32_t end = std::min(last_item, (segment + 1) * kSegmentItems);
      fold_segment(tile, segment, item, end);
      item = end;
    }
    if (!tile.split) {
      finish(tile);
      return;
    }
    const uint32_t done = last_item - first_item;
    const uint32_t before = executor_.arrivals_[tile.arrival].fetch_add(done, std::memory_order_acq_rel);
    if (before + done == tile.last_item - tile.first_item) fold_published(tile);
  }

  // Items [first, last) of one segment, all that this worker holds of it.
  void fold_segment(const Tile& tile, uint32_t segment, uint32_t first, uint32_t last) {
    const uint32_t slot = tile.split ? segment_slot(tile, segment) : 0;
    if ((slot & 0x80000000u) != 0) {
      const uint32_t origin = std::max(tile.first_item, segment * kSegmentItems);
      for (uint32_t item = first; item < last; ++item) {
        fold_item(tile, item, published((slot & 0x7fffffffu) + item - origin));
      }
      return;
    }
    const SoftmaxState state = tile.split ? published(slot) : segment_;
    clear(state, rows(tile), plan_.padded_dim);
    for (uint32_t item = first; item < last; ++item) {
      fold_item(tile, item, item_);
      attention_.merge(state, item_, rows(tile), plan_.padded_dim);
    }
    if (!tile.split) attention_.merge(total_, state, rows(tile), plan_.padded_dim);
  }

  void fold_item(const Tile& tile, uint32_t item, SoftmaxState state) {
    const Table& table = *reads_[tile.read].table;
    clear(state, rows(tile), plan_.padded_dim);
    const uint32_t first = std::max(tile.first_block, item * kItemBlocks);
    const uint32_t last = std::min(tile.last_block, (item + 1) * kItemBlocks);
    for (uint32_t block = first; block < last; ++block) {
      mark_visible(tile, block);
      const std::byte* page = table.page_of(SlotId(block * kPageSlots), tile.head_index);
      decode_.keys(table.layout(), page, keys_);
      decode_.values(table.layout(), page, values_);
      attention_.fold_block(queries_, rows(tile), plan_.padded_dim, keys_, values_, visible_, scores_, state);
    }
  }

  void fold_published(const Tile& tile) {
    clear(total_, rows(tile), plan_.padded_dim);
    for (uint32_t segment = tile.first_item / kSegmentItems; segment <= (tile.last_item - 1) / kSegmentItems;
         ++segment) {
      const uint32_t slot = segment_slot(tile, segment);
      if ((slot & 0x80000000u) == 0) {
        attention_.merge(total_, published(slot), rows(tile), plan_.padded_dim);
        continue;
      }
      const uint32_t first = std::max(tile.first_item, segment * kSegmentItems);
      const uint32_t last = std::min(tile.last_item, (segment + 1) * kSegmentItems);
      clear(segment_, rows(tile), plan_.padded_dim);
      for (uint32_t item = first; item < last; ++item) {
        attention_.merge(segment_, published((slot & 0x7fffffffu) + item - first), rows(tile), plan_.padded_dim);
      }
      attention_.merge(total_, segment_, rows(tile), plan_.padded_dim);
    }
    finish(tile);
  }

  uint32_t segment_slot(const Tile& tile, uint32_t segment) const {
    return executor_.segment_slots_[tile.segment_slots + segment - tile.first_item / kSegmentItems];
  }
  SoftmaxState published(uint32_t slot) const {
    return state_at(partials_ + slot * state_floats(plan_.tile_rows, plan_.padded_dim), plan_.tile_rows);
  }

  uint32_t first_query_head(const Tile& tile) const {
    return reads_[tile.read].table->heads()[tile.head_index].value * plan_.group;
  }

  // Rows of the tile in the order [position][query head], scaled, padded, and rotated if the keys are.
  void load_queries(const Tile& tile) {
    const size_t dim = plan_.padded_dim;
    float* to = queries_;
    const bool rotated = reads_[tile.read].table->layout().rotated;
    for (uint32_t i = 0; i < tile.positions; ++i) {
      const float* from = q_.row(tile.first_row + i) + size_t{first_query_head(tile)} * plan_.head_dim;
      for (uint32_t g = 0; g < plan_.group; ++g, to += dim, from += plan_.head_dim) {
        for (size_t d = 0; d < plan_.head_dim; ++d) to[d] = from[d] * scale_;
        std::fill(to + plan_.head_dim, to + dim, 0.0F);
        if (rotated) rotate_groups(to, dim);
      }
    }
  }

  void mark_visible(const Tile& tile, uint32_t block) {
    const Read& read = reads_[tile.read];
    const int block_slot = static_cast<int>(block * kPageSlots);
    for (uint32_t i = 0; i < tile.positions; ++i) {
      const uint32_t position = tile.first_position.value + i;
      const uint32_t window = read.slots.window;
      const TokenPos oldest(window == 0 || position < window ? 0 : position - window + 1);
      const int first = std::max(0, static_cast<int>(read.table->slots_before(oldest)) - block_slot);
      const int last = std::min(static_cast<int>(kPageSlots),
                                static_cast<int>(read.table->slots_before(TokenPos(position + 1))) - block_slot);
      std::fill_n(visible_ + size_t{i} * plan_.group, plan_.group, VisibleSlots{first, last});
    }
  }

  void finish(const Tile& tile) {
    const size_t dim = plan_.padded_dim;
    size_t row = 0;
    for (uint32_t i = 0; i < tile.positions; ++i) {
      float* to = out_.row(tile.first_row + i) + size_t{first_query_head(tile)} * plan_.head_dim;
      for (uint32_t g = 0; g < plan_.group; ++g, ++row, to += plan_.head_dim) {
        const float inverse = total_.l[row] > 0.0F ? 1.0F / total_.l[row] : 0.0F;
        for (size_t d = 0; d < plan_.head_dim; ++d) to[d] = total_.o[row * dim + d] * inverse;
        if (lse_.empty()) continue;
        const size_t heads = out_.width / plan_.head_dim;
        lse_[(tile.first_row + i) * heads + first_query_head(tile) + g] = total_.m[row] + std::log(total_.l[row]);
      }
    }
  }

  Executor& executor_;
  const WorkPlan& plan_;
  std::span<const Read> reads_;
  const Rows& q_;
  float scale_;
  Rows out_;
  std::span<float> lse_;
  const AttentionKernels& attention_;
  const KvDecodeKernels& decode_;
  float* partials_;
  float* keys_;
  float* values_;
  float* queries_;
  float* scores_;
  SoftmaxState item_, segment_, total_;
  VisibleSlots* visible_;
};

void Executor::run(OpContext& context, const WorkPlan& plan, std::span<const Read> reads, const Rows& q, float scale,
                   Rows out, std::span<float> lse) {
  list_tiles(plan, reads);
  cut_ranges(plan, context.pool.size());
  if (ranges_.empty()) return;
  if (arrival_count_ > arrivals_capacity_) {
    arrivals_capacity_ = std::bit_ceil(arrival_count_);
    arrivals_ = std::make_unique<std::atomic<uint32_t>[]>(arrivals_capacity_);
  }
  for (size_t i = 0; i < arrival_count_; ++i) arrivals_[i].store(0, std::memory_order_relaxed);
  const Workspace::Mark mark(context.scratch);
  float* scratch = context.scratch.take<float>(plan.worker_floats * static_cast<size_t>(context.pool.size())).data();
  float* partials = context.scratch.take<float>(states_used_ * state_floats(plan.tile_rows, plan.padded_dim)).data();
  context.pool.parallel_for(ranges_.size(), [&](size_t index, int worker) {
    Worker(*this, plan, reads, q, scale, out, lse, context.isa,
           scratch + static_cast<size_t>(worker) * plan.worker_floats, partials)
        .run(ranges_[index]);
  });
}

}  // namespace loci
