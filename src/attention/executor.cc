#include "attention/executor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/assert.h"
#include "base/checked.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/kv_codec/hadamard.h"

namespace loci {
namespace {

constexpr uint32_t kItemBlocks = 8;        // 512 slots
constexpr uint32_t kSegmentItems = 8;      // 4096 slots
constexpr uint32_t kTargetTileRows = 192;  // a page is decoded once for them: a twentieth of the time
constexpr uint32_t kRangesPerThread = 4;
constexpr uint32_t kFineRangesPerThread = 16;  // where no tile is split, for balance
constexpr uint32_t kWholeTilesFrom = 2;        // tiles per range from which tiles are not split

size_t state_floats(size_t rows, size_t dim) { return rows * (dim + 2); }

SoftmaxState state_at(float* memory, size_t rows) { return {memory, memory + rows, memory + 2 * rows}; }

// One worker's scratch, laid out over `memory` (null: to count the bytes).
class WorkerScratch {
 public:
  WorkerScratch(std::byte* memory, size_t rows, size_t dim) : memory_(memory) {
    block = take(block_bytes(dim));
    queries = take(query_bytes(rows, dim));
    query = reinterpret_cast<float*>(take(dim * sizeof(float)));
    scores = reinterpret_cast<float*>(take(rows * kPageSlots * sizeof(float)));
    visible = reinterpret_cast<VisibleSlots*>(take(rows * sizeof(VisibleSlots)));
    for (SoftmaxState* state : {&item, &segment, &total})
      *state = state_at(reinterpret_cast<float*>(take(state_floats(rows, dim) * sizeof(float))), rows);
  }
  size_t bytes() const { return bytes_; }

  std::byte* block;    // the decoded page
  std::byte* queries;  // as the kernel prepared them
  float* query;        // one row
  float* scores;
  VisibleSlots* visible;
  SoftmaxState item, segment, total;

 private:
  std::byte* take(size_t count) {
    std::byte* at = memory_ == nullptr ? nullptr : memory_ + bytes_;
    bytes_ += round_up(count, size_t{64});
    return at;
  }

  std::byte* memory_;
  size_t bytes_ = 0;
};

}  // namespace

// Query rows of one KV head that share a walk over its entries.
struct Executor::Tile {
  uint32_t read = 0;
  const ReadKernel* kernel = nullptr;
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
  plan.precision = bounds.precision;
  const size_t rows = plan.tile_rows;
  const size_t dim = plan.padded_dim;
  plan.worker_bytes = WorkerScratch(nullptr, rows, dim).bytes();
  const size_t ranges = size_t{kRangesPerThread} * static_cast<size_t>(threads);
  const size_t segments = div_up(bounds.slots, size_t{kPageSlots} * kItemBlocks * kSegmentItems) + 1;
  plan.partial_states = (ranges - 1) * (segments + kSegmentItems + 1);
  const size_t partial_floats = plan.partial_states * state_floats(rows, dim);
  plan.scratch_bytes = Workspace::bytes_of<std::byte>(plan.worker_bytes * static_cast<size_t>(threads)) +
                       Workspace::bytes_of<float>(partial_floats);
  return plan;
}

void Executor::list_tiles(const WorkPlan& plan, std::span<const Read> reads, Isa isa) {
  tiles_.clear();
  uint64_t items = 0;
  for (uint32_t r = 0; r < reads.size(); ++r) {
    const Read& read = reads[r];
    const uint32_t end = read.first_position.value + read.rows;
    const uint32_t tile_positions = read.phase == ReadPhase::kDecode ? 1 : plan.tile_positions;
    const ReadKernel& kernel = read_kernel(isa, read.table->layout().codec, read.phase, plan.precision);
    for (uint32_t h = 0; h < read.table->heads().size(); ++h) {
      for (uint32_t position = read.first_position.value; position < end;) {
        const uint32_t next = std::min(end, (position / tile_positions + 1) * tile_positions);
        Tile tile;
        tile.read = r;
        tile.kernel = &kernel;
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
  const auto workers = static_cast<uint64_t>(threads);
  uint64_t wanted = threads == 1 ? 1 : std::min<uint64_t>(items, kRangesPerThread * workers);
  const bool whole_tiles = tiles_.size() >= wanted * kWholeTilesFrom;
  if (whole_tiles && threads > 1) wanted = std::min<uint64_t>(tiles_.size(), kFineRangesPerThread * workers);
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
         std::span<float> lse, MergeStates merge, std::byte* scratch, float* partials)
      : executor_(executor),
        plan_(plan),
        reads_(reads),
        q_(q),
        scale_(scale),
        out_(out),
        lse_(lse),
        merge_(merge),
        partials_(partials),
        own_(scratch, plan.tile_rows, plan.padded_dim) {}

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
    clear(own_.total, rows(tile), plan_.padded_dim);
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
    const SoftmaxState state = tile.split ? published(slot) : own_.segment;
    clear(state, rows(tile), plan_.padded_dim);
    for (uint32_t item = first; item < last; ++item) {
      fold_item(tile, item, own_.item);
      merge_(state, own_.item, rows(tile), plan_.padded_dim);
    }
    if (!tile.split) merge_(own_.total, state, rows(tile), plan_.padded_dim);
  }

  void fold_item(const Tile& tile, uint32_t item, SoftmaxState state) {
    const Table& table = *reads_[tile.read].table;
    clear(state, rows(tile), plan_.padded_dim);
    const uint32_t first = std::max(tile.first_block, item * kItemBlocks);
    const uint32_t last = std::min(tile.last_block, (item + 1) * kItemBlocks);
    BlockRead b{.queries = own_.queries,
                .rows = rows(tile),
                .dim = plan_.padded_dim,
                .layout = &table.layout(),
                .page = table.page_of(SlotId(first * kPageSlots), tile.head_index),
                .next_page = table.page_of(SlotId(first * kPageSlots), tile.head_index),
                .block = own_.block,
                .visible = nullptr,
                .scores = own_.scores,
                .state = state};
    for (uint32_t block = first; block < last; ++block, b.page = b.next_page) {
      // A worker goes on to the tile's next item more often than not.
      if (block + 1 < tile.last_block) b.next_page = table.page_of(SlotId((block + 1) * kPageSlots), tile.head_index);
      b.visible = mark_visible(tile, block);
      if (tile.kernel->load_block != nullptr) tile.kernel->load_block(table.layout(), b.page, own_.block);
      tile.kernel->fold(b);
    }
  }

  void fold_published(const Tile& tile) {
    clear(own_.total, rows(tile), plan_.padded_dim);
    for (uint32_t segment = tile.first_item / kSegmentItems; segment <= (tile.last_item - 1) / kSegmentItems;
         ++segment) {
      const uint32_t slot = segment_slot(tile, segment);
      if ((slot & 0x80000000u) == 0) {
        merge_(own_.total, published(slot), rows(tile), plan_.padded_dim);
        continue;
      }
      const uint32_t first = std::max(tile.first_item, segment * kSegmentItems);
      const uint32_t last = std::min(tile.last_item, (segment + 1) * kSegmentItems);
      clear(own_.segment, rows(tile), plan_.padded_dim);
      for (uint32_t item = first; item < last; ++item) {
        merge_(own_.segment, published((slot & 0x7fffffffu) + item - first), rows(tile), plan_.padded_dim);
      }
      merge_(own_.total, own_.segment, rows(tile), plan_.padded_dim);
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
    const bool rotated = reads_[tile.read].table->layout().rotated;
    for (size_t row = 0; row < rows(tile); ++row) {
      const float* from = q_.row(tile.first_row + row / plan_.group) +
                          (size_t{first_query_head(tile)} + row % plan_.group) * plan_.head_dim;
      for (size_t d = 0; d < plan_.head_dim; ++d) own_.query[d] = from[d] * scale_;
      std::fill(own_.query + plan_.head_dim, own_.query + dim, 0.0F);
      if (rotated) rotate_groups(own_.query, dim);
      tile.kernel->load_query(own_.query, row, rows(tile), dim, own_.queries);
    }
  }

  // Null if every row sees the whole block.
  const VisibleSlots* mark_visible(const Tile& tile, uint32_t block) {
    const Read& read = reads_[tile.read];
    const uint32_t window = read.slots.window;
    const auto oldest_of = [window](uint32_t position) {
      return TokenPos(window == 0 || position < window ? 0 : position - window + 1);
    };
    const uint32_t begin = block * kPageSlots;
    const TokenPos first = tile.first_position;
    if (read.table->slots_before(TokenPos(first.value + 1)) >= begin + kPageSlots &&
        read.table->slots_before(oldest_of(first.value + tile.positions - 1)) <= begin) {
      return nullptr;
    }
    for (uint32_t i = 0; i < tile.positions; ++i) {
      const TokenPos position = first + i;
      const int low = static_cast<int>(read.table->slots_before(oldest_of(position.value))) - static_cast<int>(begin);
      const int high =
          static_cast<int>(read.table->slots_before(TokenPos(position.value + 1))) - static_cast<int>(begin);
      std::fill_n(own_.visible + size_t{i} * plan_.group, plan_.group,
                  VisibleSlots{std::max(0, low), std::min(static_cast<int>(kPageSlots), high)});
    }
    return own_.visible;
  }

  void finish(const Tile& tile) {
    const size_t dim = plan_.padded_dim;
    size_t row = 0;
    for (uint32_t i = 0; i < tile.positions; ++i) {
      float* to = out_.row(tile.first_row + i) + size_t{first_query_head(tile)} * plan_.head_dim;
      for (uint32_t g = 0; g < plan_.group; ++g, ++row, to += plan_.head_dim) {
        const float inverse = own_.total.l[row] > 0.0F ? 1.0F / own_.total.l[row] : 0.0F;
        for (size_t d = 0; d < plan_.head_dim; ++d) to[d] = own_.total.o[row * dim + d] * inverse;
        if (lse_.empty()) continue;
        const size_t heads = out_.width / plan_.head_dim;
        lse_[(tile.first_row + i) * heads + first_query_head(tile) + g] =
            own_.total.m[row] + std::log(own_.total.l[row]);
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
  MergeStates merge_;
  float* partials_;
  WorkerScratch own_;
};

void Executor::run(OpContext& context, const WorkPlan& plan, std::span<const Read> reads, const Rows& q, float scale,
                   Rows out, std::span<float> lse) {
  list_tiles(plan, reads, context.isa);
  cut_ranges(plan, context.pool.size());
  if (ranges_.empty()) return;
  if (arrival_count_ > arrivals_capacity_) {
    arrivals_capacity_ = std::bit_ceil(arrival_count_);
    arrivals_ = std::make_unique<std::atomic<uint32_t>[]>(arrivals_capacity_);
  }
  for (size_t i = 0; i < arrival_count_; ++i) arrivals_[i].store(0, std::memory_order_relaxed);
  const Workspace::Mark mark(context.scratch);
  std::byte* scratch =
      context.scratch.take<std::byte>(plan.worker_bytes * static_cast<size_t>(context.pool.size())).data();
  float* partials = context.scratch.take<float>(states_used_ * state_floats(plan.tile_rows, plan.padded_dim)).data();
  context.pool.parallel_for(ranges_.size(), [&](size_t index, int worker) {
    Worker(*this, plan, reads, q, scale, out, lse, merge_states(context.isa),
           scratch + static_cast<size_t>(worker) * plan.worker_bytes, partials)
        .run(ranges_[index]);
  });
}

}  // namespace loci
