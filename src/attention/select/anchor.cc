// AnchorAttention: a prompt's queries read the beginning, their neighbourhood, and every single key between whose
// pooled score comes close to the largest score found in those two. Zhang et al., AnchorAttention: Difference-Aware
// Sparse Attention with Stripe Granularity, arXiv:2505.23520, section 3.
//
// A cell is the paper's super-block: `step` blocks of queries. Its rows read the first block of keys, the block before
// the cell and the cell itself, as far as they may see it; the largest score of a row there is its anchor. A key
// between ("stripe") is read by all rows of the cell if, for one of the cell's blocks, the mean query's score comes
// within theta of the mean anchor. The regions are a partition: the paper's later kernels count keys behind the first
// block twice and lose the block before the cell, which is not followed here. Regions are whole pages of slots, and are
// read first: that gives the anchors, and what was read is folded into the read of the stripes (PriorRead).
//
// A prompt's rows behind its last whole cell read everything, as in the paper, or are judged like a cell.
#include <algorithm>

#include "attention/executor.h"
#include "attention/primitives/sets.h"
#include "attention/select/cells.h"
#include "attention/select/select.h"
#include "base/checked.h"
#include "base/clock.h"

namespace loci {
namespace {

enum class Tail : uint8_t { kDense, kSparse };
enum class Share : uint8_t { kHead, kGroup };

struct AnchorOptions {
  double theta = 12;
  int64_t step = 16;
  int64_t block = 128;
  Tail tail = Tail::kDense;
  Share share = Share::kHead;
};

// Slots [0, first) and [last, ...) are read as pages, those between one by one.
struct Between {
  uint32_t first;
  uint32_t last;

  uint32_t slots() const { return last > first ? last - first : 0; }
};

class Anchor final : public Select {
 public:
  Anchor(const AnchorOptions& options, const ModelShape& model)
      : theta_(static_cast<float>(options.theta)),
        block_(static_cast<uint32_t>(options.block)),
        cell_(static_cast<uint32_t>(options.block * options.step)),
        tile_(cell_ & (0U - cell_)),
        tail_(options.tail),
        parts_(options.share == Share::kHead ? model.group() : 1),
        model_(model) {}

  void name_reads(const View& view, ReadBuilder& reads) const override {
    const std::vector<CellRows> cells = cells_of(view, cell_);
    std::vector<uint32_t> most(view.tables().size());  // slots between, of any cell
    bool any = false;
    for (size_t t = 0; t < most.size(); ++t) {
      for (const CellRows& cell : cells) most[t] = std::max(most[t], between(view.tables()[t], cell).slots());
      if (!reads.mine(t)) most[t] = 0;
      any = any || most[t] > 0;
    }
    if (!any) return;
    std::vector<PriorRead> regions(most.size());
    const std::span<const float> largest = read_regions(view, reads, cells, most, regions);
    for (size_t t = 0; t < most.size(); ++t) {
      if (most[t] == 0) continue;
      const Table& table = view.tables()[t];
      Selection& selection = reads.select_pages(view, t, tile_, parts_);
      reads.add_slots(view, t, most[t], cell_);
      selection.prior = regions[t];
      for (size_t h = 0; h < table.heads().size(); ++h) {
        for (const CellRows& cell : cells) {
          if (between(table, cell).slots() == 0) {
            take_all_pages(view, h, cell, selection);
          } else {
            take_stripes(view, table, h, cell, largest, selection);
          }
        }
      }
    }
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t group = model_.group(), padded = round_up(model_.head_dim, kCodeGroup);
    const uint64_t tokens = round_up(bounds.tokens, kPageSlots), pages = div_up(tokens, kPageSlots);
    const uint64_t tiles = bounds.rows / tile_ + 2, cells = bounds.rows / cell_ + 2;
    const uint64_t blocks = std::min(bounds.rows, cell_) / block_ + 2;
    const uint64_t named =
        model_.kv_heads *
        (2 * Workspace::bytes_of<uint64_t>(parts_ * tiles * Masks::words_of(pages)) +
         Workspace::bytes_of<uint32_t>(parts_ * cells * tokens) + Workspace::bytes_of<uint32_t>(parts_ * cells));
    const uint64_t regions = Workspace::bytes_of<float>(uint64_t{bounds.rows} * model_.q_width()) +
                             2 * Workspace::bytes_of<float>(uint64_t{bounds.rows} * model_.query_heads);
    const uint64_t stripes =
        Workspace::bytes_of<float>(blocks * group) + 2 * Workspace::bytes_of<float>(blocks * group * padded) +
        mean_queries_bytes(model_) + Workspace::bytes_of<float>(blocks * tokens) +
        Workspace::bytes_of<uint64_t>(blocks * Masks::words_of(tokens)) +
        Workspace::bytes_of<uint64_t>(Masks::words_of(tokens)) + scores_scratch_bytes(padded, 1, bounds.threads);
    return named + regions + std::max<uint64_t>(work(bounds, ReadPrecision::kFp32).scratch_bytes, stripes);
  }

 private:
  // Nothing lies between where everything is read.
  Between between(const Table& table, const CellRows& cell) const {
    if (tail_ == Tail::kDense && cell.last % cell_ != 0) return {0, 0};
    const uint32_t own = table.slots_before(TokenPos(cell.first / cell_ * cell_));
    return {block_, own > block_ ? (own - block_) / kPageSlots * kPageSlots : 0};
  }

  WorkPlan work(const StageBounds& bounds, ReadPrecision precision) const {
    return Executor::plan({.rows = bounds.rows,
                           .reads = model_.kv_heads,
                           .slots = bounds.tokens,
                           .query_heads = model_.query_heads,
                           .kv_heads = model_.kv_heads,
                           .head_dim = model_.head_dim,
                           .precision = precision},
                          bounds.threads);
  }

  // The regions are read before anything is judged, since the largest scores come with that. Returns these,
  // [rows, query_heads], and what each table's rows have read; `most`: 0 for tables that are read as a whole.
  std::span<const float> read_regions(const View& view, const ReadBuilder& reads, const std::vector<CellRows>& cells,
                                      std::span<const uint32_t> most, std::vector<PriorRead>& regions) const {
    Workspace& scratch = view.ops.scratch;
    const size_t scores = size_t{view.rows()} * model_.query_heads;
    const Rows o = scratch.rows(view.rows(), model_.q_width());
    const std::span<float> lse = scratch.take<float>(scores), largest = scratch.take<float>(scores);
    std::vector<Selection> selections(most.size());
    ReadBuilder builder(view.ops, selections, reads.mine());
    std::vector<Read> all;
    for (size_t t = 0; t < most.size(); ++t) {
      if (most[t] == 0) continue;
      const Table& table = view.tables()[t];
      Selection& selection = builder.select_pages(view, t, tile_, parts_);
      for (size_t h = 0; h < table.heads().size(); ++h) {
        for (const CellRows& cell : cells) {
          if (between(table, cell).slots() > 0) take_regions(view, table, h, cell, selection);
        }
      }
      all.push_back({.table = &table,
                     .first_row = 0,
                     .rows = view.rows(),
                     .first_position = TokenPos(view.first_position),
                     .slots = view.cache.pattern(view.layer, t),
                     .part = PartId(0),
                     .phase = ReadPhase::kPrompt,
                     .selection = &selection});
    }
    const WorkPlan plan =
        work({.rows = view.rows(), .tokens = view.tokens(), .threads = view.ops.pool.size()}, view.precision);
    const double begin = seconds_now();
    Executor executor;
    executor.run(view.ops, plan, all, view.queries, view.model.score_scale, o, lse, largest);
    if (view.read_seconds != nullptr) *view.read_seconds += seconds_now() - begin;
    bool counted = false;  // the work of all tables stands at the first
    for (size_t t = 0; t < most.size(); ++t) {
      if (most[t] == 0) continue;
      regions[t] = {.o = o, .lse = lse, .pages = selections[t].pages, .work = counted ? ReadWork{} : executor.work()};
      counted = true;
    }
    return largest;
  }

  void take_regions(const View& view, const Table& table, size_t head_index, const CellRows& cell,
                    Selection& selection) const {
    const Between stripes = between(table, cell);
    const uint32_t tiles = selection.tiles(view.first_position, view.rows());
    for (uint32_t part = 0; part < parts_; ++part) {
      for (const CellRows& rows : cut_at(tile_, cell.first, cell.last)) {
        const size_t row = selection.row(head_index, part, rows.first / tile_ - view.first_position / tile_, tiles);
        const Masks pages{selection.pages.row(row).data(), 1, selection.pages.width};
        mark_range(pages, 0, stripes.first / kPageSlots);
        mark_range(pages, stripes.last / kPageSlots, pages.width);
      }
    }
  }

  void take_stripes(const View& view, const Table& table, size_t head_index, const CellRows& cell,
                    std::span<const float> largest, Selection& selection) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const std::vector<CellRows> blocks = cut_at(block_, cell.first, cell.last);
    const auto count = static_cast<uint32_t>(blocks.size());
    const uint32_t group = view.model.group();
    Rows anchors = scratch.rows(group, count);
    const size_t first_head = size_t{table.heads()[head_index].value} * group;
    for (uint32_t b = 0; b < count; ++b) {
      for (uint32_t g = 0; g < group; ++g) anchors.row(g)[b] = mean_anchor(view, blocks[b], largest, first_head + g);
    }

    const Between stripes = between(table, cell);
    const uint32_t width = stripes.slots(), dim = table.layout().padded_dim;
    Rows means = scratch.rows(size_t{count} * group, dim);
    for (uint32_t b = 0; b < count; ++b)
      mean_queries(view, table, head_index, blocks[b], {means.row(size_t{b} * group), group, dim, dim});
    Rows queries = scratch.rows(count, dim);
    Rows scored = scratch.rows(count, width);
    Masks close{scratch.take<uint64_t>(count * Masks::words_of(width)).data(), count, width};
    Masks any{scratch.take<uint64_t>(Masks::words_of(width)).data(), 1, width};
    for (uint32_t g = 0; g < group; ++g) {
      for (uint32_t b = 0; b < count; ++b) std::copy_n(means.row(size_t{b} * group + g), dim, queries.row(b));
      score_between(view, table, head_index, stripes, queries, scored);
      std::vector<float> thresholds(count);
      for (uint32_t b = 0; b < count; ++b) thresholds[b] = anchors.row(g)[b] - theta_;
      mark_at_least(view.ops, scored, thresholds, close);
      if (parts_ == 1 && g > 0) {
        for (uint32_t b = 0; b < count; ++b) unite(any, {close.row(b).data(), 1, width});
      } else {
        unite_rows(close, count, any);
      }
      if (parts_ > 1 || g + 1 == group) {
        const size_t row =
            selection.slot_row(head_index, parts_ > 1 ? g : 0, cell.first, view.first_position, view.rows());
        list_slots(any, stripes.first, selection.slots, row);
      }
    }
  }

  // The mean of the rows' largest scores in the regions.
  float mean_anchor(const View& view, const CellRows& block, std::span<const float> largest, size_t head) const {
    float sum = 0;
    for (uint32_t position = block.first; position < block.last; ++position)
      sum += largest[size_t{position - view.first_position} * model_.query_heads + head];
    return sum / static_cast<float>(block.rows());
  }

  static void score_between(const View& view, const Table& table, size_t head_index, const Between& stripes,
                            const Rows& queries, Rows out) {
    std::vector<const std::byte*> pages;
    for (uint32_t slot = stripes.first; slot < stripes.last; slot += kPageSlots)
      pages.push_back(table.page_of(SlotId(slot), head_index));
    const ScoreJob job{.keys = {.layout = &table.layout(), .pages = pages, .tiles = nullptr, .count = stripes.slots()},
                       .queries = queries,
                       .scores = out,
                       .products = view.products()};
    scores(view.ops, std::span(&job, 1));
  }

  static void list_slots(const Masks& any, uint32_t first, Lists& slots, size_t row) {
    const std::span<uint32_t> room = slots.room(row);
    list_elements(any, {room.data(), &slots.counts[row], 1, slots.capacity});
    for (uint32_t i = 0; i < slots.counts[row]; ++i) room[i] += first;
  }

  float theta_;
  uint32_t block_;
  uint32_t cell_;
  // All rows of a cell read the same, so that a walk may take as many of them together as it likes; tiles are the
  // largest power of two that cuts a cell.
  uint32_t tile_;
  Tail tail_;
  uint32_t parts_;
  const ModelShape model_;
};

Status check_anchor(const MethodCall& call) {
  const auto o = call.as<AnchorOptions>();
  if ((o.block & (o.block - 1)) == 0) return {};
  return fail(ErrorCode::kInvalidArgument, "block is {}, but must be a power of two", o.block);
}

Result<std::unique_ptr<Select>> make_anchor(const MethodCall& call, const MethodContext& context) {
  return std::unique_ptr<Select>(std::make_unique<Anchor>(call.as<AnchorOptions>(), context.model));
}

}  // namespace

const Method kAnchor = {
    .name = "anchor",
    .summary = "A prompt's queries read the beginning, their neighbourhood, and single keys that score close to both.",
    .stages = {Stage::kSelect},
    .phases = {Phase::kPrefill},
    .parameters =
        {number<&AnchorOptions::theta>("theta", {-1e6, 1e6}, "nats",
                                       "below the largest score nearby down to which a key is read"),
         integer<&AnchorOptions::step>("step", {1, 64}, "blocks", "of queries that share their keys"),
         integer<&AnchorOptions::block>("block", {64, 1024, 64}, "tokens", "whose queries are pooled, a power of two"),
         choice<&AnchorOptions::tail>("tail", {"dense", "sparse"}, "how rows behind a prompt's last whole cell read"),
         choice<&AnchorOptions::share>("share", {"head", "group"}, "the query heads that read the same keys")},
    .cell = {.count = 1, .times = {"block", "step"}},
    .tile = {.count = 1, .times = {"block", "step"}},
    .idle_until =
        [](const MethodCall& call) {
          const auto o = call.as<AnchorOptions>();
          const auto cell = static_cast<uint64_t>(o.block * o.step);
          return o.tail == Tail::kDense ? 2 * cell - 1 : cell;
        },
    .citation = "AnchorAttention: Difference-Aware Sparse Attention with Stripe Granularity, arXiv:2505.23520",
    .dense_when = "block x step >= context",
    .trial = "theta=1,step=2,block=64,tail=sparse",
    .dense_trial = "step=64",
    .check = check_anchor,
    .make_select = make_anchor,
};

}  // namespace loci
