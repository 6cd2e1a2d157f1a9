#include "attention/executor.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/checked.h"
#include "base/clock.h"
#include "cache/gather.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/attention/scored_kernels.h"
#include "kernels/cpu/kv_codec/gather.h"
#include "kernels/cpu/kv_codec/hadamard.h"

namespace loci {
namespace {

// A page is decoded once for the rows of a tile: a tenth of the time. More rows than these would push one another's
// outputs out of the second cache.
constexpr uint32_t kTileOutputBytes = 128 << 10;
constexpr uint32_t kMostTileRows = 512;
constexpr uint32_t kLeastTileRows = 128;
constexpr uint32_t kItemwise = 0x80000000u;  // marks a segment whose items are published one by one

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
    gathered = take(gathered_bytes(dim));
    for (const std::byte*** list : {&places, &next_places})
      *list = reinterpret_cast<const std::byte**>(take(kPageSlots * sizeof(std::byte*)));
    for (SoftmaxState* state : {&item, &segment, &total})
      *state = state_at(reinterpret_cast<float*>(take(state_floats(rows, dim) * sizeof(float))), rows);
  }
  size_t bytes() const { return bytes_; }
  // A page of any codec.
  static size_t gathered_bytes(size_t dim) { return 2 * dim * kPageSlots * sizeof(uint16_t); }

  std::byte* block;    // the decoded page
  std::byte* queries;  // as the kernel prepared them
  float* query;        // one row
  float* scores;
  VisibleSlots* visible;
  std::byte* gathered;       // single slots, as a page
  const std::byte** places;  // where their values are
  const std::byte** next_places;
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

Executor::Executor() = default;
Executor::~Executor() = default;

WorkPlan Executor::plan(const ReadBounds& bounds, int threads) {
  WorkPlan plan;
  plan.group = bounds.query_heads / bounds.kv_heads;
  plan.head_dim = bounds.head_dim;
  plan.padded_dim = static_cast<uint32_t>(round_up(bounds.head_dim, kCodeGroup));
  const uint32_t most_rows = std::clamp(kTileOutputBytes / (plan.padded_dim * static_cast<uint32_t>(sizeof(float))),
                                        kLeastTileRows, kMostTileRows);
  plan.tile_positions = std::bit_floor(std::max(1u, most_rows / plan.group));
  plan.tile_rows = plan.tile_positions * plan.group;
  plan.precision = bounds.precision;
  plan.schedule = bounds.schedule;
  const size_t rows = plan.tile_rows;
  const size_t dim = plan.padded_dim;
  plan.worker_bytes = WorkerScratch(nullptr, rows, dim).bytes();
  // Sinks have segments of their own.
  const size_t segments = div_up(bounds.slots, size_t{kPageSlots} * kItemBlocks * kSegmentItems) + 2;
  const auto floats = [&](size_t rounds, size_t state_rows) {
    return (rounds * static_cast<size_t>(threads) - 1) * (segments + kSegmentItems + 1) * state_floats(state_rows, dim);
  };
  plan.partial_floats = std::max(floats(kStreamRounds, rows), floats(kManyStreamRounds, plan.group));
  plan.scratch_bytes = Workspace::bytes_of<std::byte>(plan.worker_bytes * static_cast<size_t>(threads)) +
                       Workspace::bytes_of<float>(plan.partial_floats);
  return plan;
}

void Executor::cut_ranges(const WorkPlan& plan, int threads) {
  ranges_.clear();
  segment_states_.clear();
  arrival_count_ = 0;
  states_used_ = 0;
  if (list_.tiles().empty()) return;
  const auto workers = static_cast<uint64_t>(threads);
  if (plan.schedule == Schedule::kSplit) {
    cut_split(list_.tiles(), workers, ranges_);
  } else {
    cut_stream(list_.tiles(), workers, state_rows_ <= plan.group, ranges_);
  }
  lay_out_states(plan);
}

// Where the states of split tiles are published: one per segment that a worker holds whole, one per item of the others.
void Executor::lay_out_states(const WorkPlan& plan) {
  size_t border = 0;
  for (Tile& tile : list_.tiles()) {
    if (!tile.split) continue;
    tile.arrival = static_cast<uint32_t>(arrival_count_++);
    tile.segment_states = static_cast<uint32_t>(segment_states_.size());
    for (uint32_t s = 0; s < tile.segments(); ++s) {
      const uint64_t begin = tile.items_before + tile.segment_begin(s);
      const uint64_t end = tile.items_before + tile.segment_begin(s + 1);
      while (border < ranges_.size() && ranges_[border].last <= begin) ++border;
      const bool cut = border < ranges_.size() && ranges_[border].last < end;
      segment_states_.push_back(static_cast<uint32_t>(states_used_) | (cut ? kItemwise : 0u));
      states_used_ += cut ? end - begin : 1;
    }
  }
  LOCI_ASSERT(states_used_ * state_floats(state_rows_, plan.padded_dim) <= plan.partial_floats,
              "the plan reserves room for every published state");
}

// One worker's way through a range. Holds its scratch.
class Executor::Worker {
 public:
  Worker(Executor& executor, const WorkPlan& plan, const Rows& q, float scale, Rows out, std::span<float> lse,
         std::span<float> largest, Isa isa, std::byte* scratch, float* partials)
      : executor_(executor),
        plan_(plan),
        q_(q),
        scale_(scale),
        out_(out),
        lse_(lse),
        largest_(largest),
        isa_(isa),
        merge_(merge_states(isa)),
        gather_(gather_entries(isa)),
        partials_(partials),
        own_(scratch, plan.tile_rows, plan.padded_dim) {}

  void run(const ItemRange& range) {
    const std::vector<Tile>& tiles = executor_.list_.tiles();
    for (uint32_t t = range.first_tile; t < tiles.size(); ++t) {
      const Tile& tile = tiles[t];
      if (tile.items_before >= range.last) break;
      if (tile.items_before + tile.items <= range.first) continue;
      const uint64_t begin = std::max(range.first, tile.items_before) - tile.items_before;
      const uint64_t end = std::min<uint64_t>(range.last - tile.items_before, tile.items);
      fold_tile(tile, static_cast<uint32_t>(begin), static_cast<uint32_t>(end));
    }
  }

 private:
  void fold_tile(const Tile& tile, uint32_t first_item, uint32_t last_item) {
    load_queries(tile);
    clear(own_.total, tile.rows(), plan_.padded_dim);
    for (uint32_t item = first_item; item < last_item;) {
      const uint32_t segment = tile.segment_of(item);
      const uint32_t end = std::min(last_item, tile.segment_begin(segment + 1));
      fold_segment(tile, segment, item, end);
      item = end;
    }
    if (!tile.split) {
      finish(tile);
      return;
    }
    const uint32_t done = last_item - first_item;
    const uint32_t before = executor_.arrivals_[tile.arrival].fetch_add(done, std::memory_order_acq_rel);
    if (before + done == tile.items) fold_published(tile);
  }

  // Items [first, last) of one segment, all that this worker holds of it.
  void fold_segment(const Tile& tile, uint32_t segment, uint32_t first, uint32_t last) {
    const uint32_t place = tile.split ? executor_.segment_states_[tile.segment_states + segment] : 0;
    if ((place & kItemwise) != 0) {
      const uint32_t origin = tile.segment_begin(segment);
      for (uint32_t item = first; item < last; ++item)
        fold_item(tile, item, published((place & ~kItemwise) + item - origin));
      return;
    }
    const SoftmaxState state = tile.split ? published(place) : own_.segment;
    clear(state, tile.rows(), plan_.padded_dim);
    for (uint32_t item = first; item < last; ++item) {
      fold_item(tile, item, own_.item);
      merge_(state, own_.item, tile.rows(), plan_.padded_dim);
    }
    if (!tile.split) merge_(own_.total, state, tile.rows(), plan_.padded_dim);
  }

  void fold_item(const Tile& tile, uint32_t item, SoftmaxState state) {
    const Table& table = *tile.read->table;
    clear(state, tile.rows(), plan_.padded_dim);
    BlockRead b{.queries = own_.queries,
                .rows = tile.rows(),
                .dim = plan_.padded_dim,
                .layout = &table.layout(),
                .page = nullptr,
                .next_page = nullptr,
                .block = own_.block,
                .visible = nullptr,
                .scores = own_.scores,
                .state = state};
    const auto [first, last] = tile.item_blocks(item);
    const uint32_t all = tile.blocks();
    for (uint32_t block = first; block < last; ++block) {
      const TileBlock at = executor_.list_.block(tile, block);
      const bool known = scored(tile, at), slots = at.kind == TileBlock::Kind::kSlots;
      if (!slots) b.page = page(tile, at);
      if (slots && !known) b.page = gather(tile, at.index);
      b.next_page = b.page;
      if (block + 1 < all) {  // a worker goes on to the tile's next item more often than not
        const TileBlock next = executor_.list_.block(tile, block + 1);
        if (next.kind != TileBlock::Kind::kSlots) b.next_page = page(tile, next);
      }
      if (known) {
        fold_scored(tile, block, at, b);
        continue;
      }
      b.visible = mark(tile, at);
      if (tile.kernel->load_block != nullptr) tile.kernel->load_block(table.layout(), b.page, own_.block);
      tile.kernel->fold(b);
    }
  }

  // Entries whose scores are known: of a page, or of single slots.
  void fold_scored(const Tile& tile, uint32_t block, const TileBlock& at, BlockRead b) {
    const Table& table = *tile.read->table;
    const ScoredKernel& kernel = scored_kernel(isa_, table.layout().codec);
    load_scores(tile, at);
    b.visible = mark(tile, at);
    if (at.kind == TileBlock::Kind::kSlots && kernel.fold_places != nullptr) {
      if (placed_tile_ != &tile || placed_block_ != block) place(tile, at, own_.places);
      const bool more = block + 1 < tile.blocks();
      if (more) place(tile, executor_.list_.block(tile, block + 1), own_.next_places);
      kernel.fold_places(b, own_.places, more ? own_.next_places : own_.places);
      std::swap(own_.places, own_.next_places);
      placed_tile_ = more ? &tile : nullptr;
      placed_block_ = block + 1;
      return;
    }
    if (at.kind == TileBlock::Kind::kSlots) {
      clear_gathered(table.layout());
      gather_values(table, tile.head_index, slots_of(tile, at), own_.gathered, 0);
      b.page = b.next_page = own_.gathered;
    }
    if (kernel.load_values != nullptr) kernel.load_values(table.layout(), b.page, reinterpret_cast<float*>(own_.block));
    kernel.fold(b);
  }

  static bool scored(const Tile& tile, const TileBlock& at) {
    return (at.kind == TileBlock::Kind::kCopies ? tile.copy_scores : tile.scores).data != nullptr;
  }

  static std::span<const uint32_t> slots_of(const Tile& tile, const TileBlock& at) {
    return tile.slots.subspan(at.index, std::min<size_t>(kPageSlots, tile.slots.size() - at.index));
  }

  // The block's scores, scaled, as a fold wants them.
  void load_scores(const Tile& tile, const TileBlock& at) {
    for (uint32_t row = 0; row < tile.rows(); ++row) {
      float* to = own_.scores + row * kPageSlots;
      if (at.kind == TileBlock::Kind::kSlots) {
        const float* from = tile.scores.row(row);
        const std::span<const uint32_t> slots = slots_of(tile, at);
        for (size_t i = 0; i < slots.size(); ++i) to[i] = from[slots[i]] * scale_;
        std::fill(to + slots.size(), to + kPageSlots, 0.0F);
        continue;
      }
      const bool copies = at.kind == TileBlock::Kind::kCopies;
      const float* from = (copies ? tile.copy_scores : tile.scores).row(row) + size_t{at.index} * kPageSlots;
      const float scale = copies ? 1.0F : scale_;
      for (size_t i = 0; i < kPageSlots; ++i) to[i] = from[i] * scale;
    }
  }

  // Where the values of the block's slots begin.
  void place(const Tile& tile, const TileBlock& at, const std::byte** places) const {
    const Table& table = *tile.read->table;
    const std::span<const uint32_t> slots = slots_of(tile, at);
    const std::byte* page = nullptr;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (i == 0 || slots[i] / kPageSlots != slots[i - 1] / kPageSlots)
        page = table.page_of(SlotId(slots[i]), tile.head_index);
      places[i] = first_values(table.layout(), page, slots[i] % kPageSlots);
    }
    std::fill(places + slots.size(), places + kPageSlots, places[slots.size() - 1]);
  }

  void fold_published(const Tile& tile) {
    clear(own_.total, tile.rows(), plan_.padded_dim);
    for (uint32_t segment = 0; segment < tile.segments(); ++segment) {
      const uint32_t place = executor_.segment_states_[tile.segment_states + segment];
      if ((place & kItemwise) == 0) {
        merge_(own_.total, published(place), tile.rows(), plan_.padded_dim);
        continue;
      }
      const uint32_t first = tile.segment_begin(segment);
      const uint32_t last = tile.segment_begin(segment + 1);
      clear(own_.segment, tile.rows(), plan_.padded_dim);
      for (uint32_t item = first; item < last; ++item)
        merge_(own_.segment, published((place & ~kItemwise) + item - first), tile.rows(), plan_.padded_dim);
      merge_(own_.total, own_.segment, tile.rows(), plan_.padded_dim);
    }
    finish(tile);
  }

  SoftmaxState published(uint32_t place) const {
    const size_t rows = executor_.state_rows_;
    return state_at(partials_ + place * state_floats(rows, plan_.padded_dim), rows);
  }

  const std::byte* page(const Tile& tile, const TileBlock& at) const {
    if (at.kind == TileBlock::Kind::kCopies) return tile.copies + size_t{at.index} * tile.read->table->layout().bytes;
    return tile.read->table->page_of(SlotId(at.index * kPageSlots), tile.head_index);
  }

  // A partly filled block of slots must not hold a NaN beyond its end: neither what was there before the first block
  // nor what entries of another codec look like.
  void clear_gathered(const PageLayout& layout) {
    if (gathered_codec_ == layout.codec) return;
    std::memset(own_.gathered, 0, WorkerScratch::gathered_bytes(plan_.padded_dim));
    gathered_codec_ = layout.codec;
  }

  // Up to 64 of the tile's slots from `first` on, side by side.
  const std::byte* gather(const Tile& tile, uint32_t first) {
    const size_t count = std::min<size_t>(kPageSlots, tile.slots.size() - first);
    const Table& table = *tile.read->table;
    clear_gathered(table.layout());
    EntrySlots slots;
    EntryRun runs[kPageSlots];
    size_t used = 0;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t slot = tile.slots[first + i];
      slots.at[i] = static_cast<uint16_t>(slot % kPageSlots);
      if (i == 0 || slot / kPageSlots != tile.slots[first + i - 1] / kPageSlots)
        runs[used++] = {table.page_of(SlotId(slot), tile.head_index), 0};
      ++runs[used - 1].count;
    }
    gather_(table.layout(), {runs, used}, slots, own_.gathered);
    return own_.gathered;
  }

  const VisibleSlots* mark(const Tile& tile, const TileBlock& at) {
    if (at.kind == TileBlock::Kind::kSlots) return mark_first(tile, tile.slots.size() - at.index);
    if (at.kind == TileBlock::Kind::kCopies) return mark_first(tile, tile.copy_count - at.index * kPageSlots);
    return mark_visible(tile, at);
  }

  // Every row sees the first `count` of the block's 64.
  const VisibleSlots* mark_first(const Tile& tile, size_t count) {
    if (count >= kPageSlots) return nullptr;
    std::fill_n(own_.visible, tile.rows(), VisibleSlots{0, static_cast<int>(count)});
    return own_.visible;
  }

  // Rows of the tile in the order [position][query head], scaled, padded, and rotated if the keys are.
  void load_queries(const Tile& tile) {
    const size_t dim = plan_.padded_dim;
    const bool rotated = tile.read->table->layout().rotated;
    for (size_t row = 0; row < tile.rows(); ++row) {
      const float* from = query(tile, row);
      for (size_t d = 0; d < plan_.head_dim; ++d) own_.query[d] = from[d] * scale_;
      std::fill(own_.query + plan_.head_dim, own_.query + dim, 0.0F);
      if (rotated) rotate_groups(own_.query, dim);
      tile.kernel->load_query(own_.query, row, tile.rows(), dim, own_.queries);
    }
  }

  const float* query(const Tile& tile, size_t row) const {
    return q_.row(tile.first_row + row / tile.heads) + (size_t{tile.query_head} + row % tile.heads) * plan_.head_dim;
  }

  // What the rows see of a page; null if every row sees all of it.
  const VisibleSlots* mark_visible(const Tile& tile, const TileBlock& at) {
    const Table& table = *tile.read->table;
    const Pattern& pattern = tile.read->slots;
    const bool sinks = at.kind == TileBlock::Kind::kSinks;
    const auto low = [&](uint32_t position) {
      return sinks ? 0u : table.slots_before(TokenPos(pattern.oldest(position)));
    };
    const auto high = [&](uint32_t position) {
      return table.slots_before(TokenPos(sinks ? std::min(pattern.sinks, position + 1) : position + 1));
    };
    const uint32_t begin = at.index * kPageSlots;
    const uint32_t first = tile.first_position.value;
    if (high(first) >= begin + kPageSlots && low(first + tile.positions - 1) <= begin) return nullptr;
    for (uint32_t i = 0; i < tile.positions; ++i) {
      const int from = static_cast<int>(low(first + i)) - static_cast<int>(begin);
      const int to = static_cast<int>(high(first + i)) - static_cast<int>(begin);
      std::fill_n(own_.visible + size_t{i} * tile.heads, tile.heads,
                  VisibleSlots{std::max(0, from), std::min(static_cast<int>(kPageSlots), to)});
    }
    return own_.visible;
  }

  // Folds the extra entry into a row's total.
  void fold_extra(const Tile& tile, const ExtraEntry& extra, size_t row) {
    const float* q = query(tile, row);
    float score = 0;
    for (size_t d = 0; d < plan_.head_dim; ++d) score += q[d] * scale_ * extra.key[d];
    fold_value(row, score + extra.log_weight, extra.value);
  }

  // What the row's head has read before.
  void fold_prior(const Tile& tile, const PriorRead& prior, uint32_t position, uint32_t head, size_t row) {
    const uint32_t r = tile.first_row - tile.read->first_row + position;
    const float lse = prior.lse[size_t{r} * (prior.o.width / plan_.head_dim) + head];
    if (lse == -std::numeric_limits<float>::infinity()) return;
    fold_value(row, lse, prior.o.row(r) + size_t{head} * plan_.head_dim);
  }

  // An entry that counts exp(score) times.
  void fold_value(size_t row, float score, const float* value) {
    const SoftmaxState& total = own_.total;
    const float m = std::max(total.m[row], score);
    const float old = total.l[row] > 0.0F ? std::exp(total.m[row] - m) : 0.0F;
    const float weight = std::exp(score - m);
    total.m[row] = m;
    total.l[row] = total.l[row] * old + weight;
    float* o = total.o + row * plan_.padded_dim;
    for (size_t d = 0; d < plan_.head_dim; ++d) o[d] = o[d] * old + weight * value[d];
  }

  void finish(const Tile& tile) {
    const size_t dim = plan_.padded_dim;
    const std::span<const ExtraEntry> extras = tile.read->extras;
    const ExtraEntry* extra =
        extras.empty() || extras[tile.head_index].key == nullptr ? nullptr : &extras[tile.head_index];
    const PriorRead* prior =
        tile.selected && tile.read->selection->prior.o.data != nullptr ? &tile.read->selection->prior : nullptr;
    const size_t heads = out_.width / plan_.head_dim;
    size_t row = 0;
    for (uint32_t i = 0; i < tile.positions; ++i) {
      float* to = out_.row(tile.first_row + i) + size_t{tile.query_head} * plan_.head_dim;
      for (uint32_t g = 0; g < tile.heads; ++g, ++row, to += plan_.head_dim) {
        const size_t number = (tile.first_row + i) * heads + tile.query_head + g;
        if (!largest_.empty()) largest_[number] = own_.total.m[row];
        if (prior != nullptr) fold_prior(tile, *prior, i, tile.query_head + g, row);
        if (extra != nullptr) fold_extra(tile, *extra, row);
        const float inverse = own_.total.l[row] > 0.0F ? 1.0F / own_.total.l[row] : 0.0F;
        for (size_t d = 0; d < plan_.head_dim; ++d) to[d] = own_.total.o[row * dim + d] * inverse;
        if (!lse_.empty()) lse_[number] = own_.total.m[row] + std::log(own_.total.l[row]);
      }
    }
  }

  Executor& executor_;
  const WorkPlan& plan_;
  const Rows& q_;
  float scale_;
  Rows out_;
  std::span<float> lse_;
  std::span<float> largest_;
  Isa isa_;
  MergeStates merge_;
  GatherEntries gather_;
  float* partials_;
  WorkerScratch own_;
  std::optional<KvCodec> gathered_codec_;  // of what own_.gathered holds; none: it is not cleared
  // The block that own_.places are of.
  const Tile* placed_tile_ = nullptr;
  uint32_t placed_block_ = 0;
};

void Executor::run(OpContext& context, const WorkPlan& plan, std::span<const Read> reads, const Rows& q, float scale,
                   Rows out, std::span<float> lse, std::span<float> largest) {
  list_.fill(
      reads,
      {.group = plan.group, .tile_rows = plan.tile_rows, .positions = plan.tile_positions, .precision = plan.precision},
      context.isa);
  state_rows_ = list_.most_rows();
  for (const Tile& tile : list_.tiles()) {
    work_.bytes += list_.bytes(tile);
    work_.macs += 2 * plan.head_dim * list_.visible(tile);
  }
  for (const Read& read : reads) {
    if (read.selection == nullptr) continue;
    work_.bytes += read.selection->prior.work.bytes;
    work_.macs += read.selection->prior.work.macs;
  }
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
  float* partials = context.scratch.take<float>(states_used_ * state_floats(state_rows_, plan.padded_dim)).data();
  const auto run_range = [&](size_t index, int worker) {
    Worker(*this, plan, q, scale, out, lse, largest, context.isa,
           scratch + static_cast<size_t>(worker) * plan.worker_bytes, partials)
        .run(ranges_[index]);
  };
  // In their order, each worker the next one when it is free: the short ones come last.
  std::atomic<size_t> next{0};
  const auto take_ranges = [&](int worker) {
    for (size_t index = next.fetch_add(1); index < ranges_.size(); index = next.fetch_add(1)) run_range(index, worker);
  };
  const auto takers = std::min(ranges_.size(), static_cast<size_t>(context.pool.size()));
  if (times_ == nullptr) {
    context.pool.parallel_for(takers, [&](size_t, int worker) { take_ranges(worker); });
    return;
  }
  const double begin = seconds_now();
  times_->busy.resize(static_cast<size_t>(context.pool.size()));
  context.pool.parallel_for(takers, [&](size_t, int worker) {
    const double taker_begin = seconds_now();
    take_ranges(worker);
    times_->busy[static_cast<size_t>(worker)] += seconds_now() - taker_begin;
  });
  times_->wall += seconds_now() - begin;
}

}  // namespace loci
