// FlexPrefill: blocks of keys chosen per query head from the prompt itself, as many as cover a share of the attention.
// Lai et al., FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient Long-Sequence Inference,
// arXiv:2502.20766, algorithms 1 to 4.
//
// What the paper takes from the prompt is taken from the cell: the attention of the cell's last `block` queries says
// which columns and which diagonals of blocks carry the mass (a vertical-slash head), or, if pooled queries and keys
// tell the same story (Jensen-Shannon distance below tau), which pairs of blocks do (a query-aware head). When the
// prompt is one cell, this is the paper's.
//
// Blocks of keys are counted in slots. Pooled scores are means of scores, so no pooled key is ever kept. Two counts
// follow the reference implementation: columns are taken to lie in as few blocks as hold them, and the first block and
// the diagonal are among those counted.
#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/primitives/pool.h"
#include "attention/primitives/softmax.h"
#include "attention/primitives/top.h"
#include "attention/select/cells.h"
#include "attention/select/select.h"
#include "attention/stages/observe.h"
#include "base/checked.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {
namespace {

constexpr uint32_t kRowsAtOnce = 16;   // of probabilities, per query head: they stay in cache
constexpr uint32_t kMeansAtOnce = 32;  // pooled queries
constexpr uint32_t kColumnsAtOnce = 2048;
// A cell with fewer blocks of rows is read as a whole: judging it costs a block's rows of scores.
constexpr uint32_t kLeastBlocks = 4;

struct FlexPrefillOptions {
  double gamma = 0.9;
  double tau = 0.1;
  int64_t min_budget = 1024;
  int64_t block = 128;
  int64_t cell = 2048;
};

// Sequences of so many tokens are covered by the least budget, which counts for columns and for diagonals.
uint64_t covered(const FlexPrefillOptions& o) {
  const auto least = static_cast<uint64_t>(div_up(o.min_budget, o.block));
  return std::max<uint64_t>(2, 2 * least) * static_cast<uint64_t>(o.block);
}

// Where the representative queries of one KV head look, a row per query head of its group.
struct Observed {
  Rows columns;    // [group, slots]: mean probability of a slot
  Rows distances;  // [group, slots]: of a distance, the farthest first
  Rows column_blocks;
  Rows distance_blocks;
};

class FlexPrefill final : public Select {
 public:
  FlexPrefill(const FlexPrefillOptions& options, const ModelShape& model)
      : gamma_(options.gamma),
        tau_(options.tau),
        block_(static_cast<uint32_t>(options.block)),
        cell_(static_cast<uint32_t>(options.cell)),
        least_(static_cast<uint32_t>(div_up(options.min_budget, options.block))),
        covered_(covered(options)),
        model_(model) {}

  void name_reads(const View& view, ReadBuilder& reads) const override {
    if (gamma_ > 1) return;
    const std::vector<CellRows> cells = cells_of(view, cell_);
    for (size_t t = 0; t < view.tables().size(); ++t) {
      const Table& table = view.tables()[t];
      const auto judged = [&](const CellRows& cell) { return this->pays(table, cell); };
      if (!reads.mine(t) || std::none_of(cells.begin(), cells.end(), judged)) continue;
      Selection& selection = reads.select_pages(view, t, block_, model_.group());
      for (size_t h = 0; h < table.heads().size(); ++h) {
        for (const CellRows& cell : cells) {
          if (judged(cell)) {
            judge(view, table, h, cell, selection);
          } else {
            take_all_pages(view, h, cell, selection);
          }
        }
      }
    }
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    if (gamma_ > 1) return 0;
    const uint64_t group = model_.group(), width = round_up(bounds.tokens, kPageSlots);
    const uint64_t padded = round_up(model_.head_dim, kCodeGroup);
    const uint64_t blocks = div_up(width, block_), rows = std::min(bounds.rows, cell_) / block_ + 2;
    const uint64_t tiles = bounds.rows / block_ + 2;
    const uint64_t masks = model_.kv_heads * Workspace::bytes_of<uint64_t>(
                                                 group * tiles * Masks::words_of(div_up(bounds.tokens, kPageSlots)));
    const uint64_t observed =
        2 * Workspace::bytes_of<float>(group * width) + 2 * Workspace::bytes_of<float>(group * blocks);
    const uint64_t looking = Workspace::bytes_of<float>(kRowsAtOnce * group * width) +
                             observe_scratch_bytes(model_, kRowsAtOnce, bounds.threads);
    const uint64_t pooling = Workspace::bytes_of<float>(group * padded) + mean_queries_bytes(model_) +
                             Workspace::bytes_of<float>(kMeansAtOnce * padded) +
                             Workspace::bytes_of<float>(std::max<uint64_t>(kMeansAtOnce, group) * width) +
                             Workspace::bytes_of<float>(std::max(rows, group) * blocks) +
                             Workspace::bytes_of<uint64_t>(Masks::words_of(rows * blocks)) +
                             scores_scratch_bytes(static_cast<uint32_t>(padded), 1, bounds.threads);
    const uint64_t lists = 2 * (Workspace::bytes_of<uint32_t>(blocks) + Workspace::bytes_of<uint32_t>(1));
    return masks + observed + std::max(looking, pooling) + lists;
  }

 private:
  class Judge;

  void judge(const View& view, const Table& table, size_t head_index, const CellRows& cell, Selection& selection) const;

  bool pays(const Table& table, const CellRows& cell) const {
    const uint64_t slots = table.slots_before(TokenPos(cell.last));
    return cell.rows() >= kLeastBlocks * block_ && slots > covered_;
  }

  void mark_pages(std::span<uint64_t> pages, uint32_t block) const {
    const uint32_t each = block_ / kPageSlots;
    for (uint32_t page = block * each; page < (block + 1) * each && page / 64 < pages.size(); ++page)
      pages[page / 64] |= uint64_t{1} << page % 64;
  }

  double gamma_;
  double tau_;
  uint32_t block_;
  uint32_t cell_;
  uint32_t least_;    // blocks of columns, and of diagonals
  uint64_t covered_;  // slots that they cover
  const ModelShape model_;
};

// One cell before one KV head.
class FlexPrefill::Judge {
 public:
  Judge(const FlexPrefill& method, const View& view, const Table& table, size_t head_index, const CellRows& cell,
        Selection& selection)
      : method_(method),
        view_(view),
        table_(table),
        head_index_(head_index),
        cell_(cell),
        selection_(selection),
        block_(method.block_),
        group_(view.model.group()),
        slots_(table.slots_before(TokenPos(cell.last))),
        blocks_(static_cast<uint32_t>(div_up(slots_, block_))),
        width_(observed_width(table)),
        all_blocks_(static_cast<uint32_t>(div_up(width_, block_))),
        lengths_(group_, slots_) {}

  void run() {
    const Workspace::Mark mark(view_.ops.scratch);
    observe_cell();
    std::vector<Cut> columns(group_), distances(group_);
    find_top_p(view_.ops, seen_.columns, method_.gamma_, columns, lengths_);
    find_top_p(view_.ops, seen_.distances, method_.gamma_, distances, lengths_);
    const std::vector<bool> aware = query_aware();
    for (uint32_t g = 0; g < group_; ++g) {
      const uint32_t least = std::min(method_.least_, blocks_);
      if (aware[g]) {
        take_lines(g, least, least);
        take_pairs(g);
      } else {
        take_lines(g, std::clamp(columns[g].count / block_ + 1, least, blocks_),
                   std::clamp(distances[g].count / block_ + 1, least, blocks_));
      }
    }
  }

 private:
  // Attention of the cell's last rows, added up along columns and along diagonals.
  void observe_cell() {
    Workspace& scratch = view_.ops.scratch;
    seen_ = {scratch.rows(group_, width_), scratch.rows(group_, width_), scratch.rows(group_, all_blocks_),
             scratch.rows(group_, all_blocks_)};
    std::fill_n(seen_.columns.data, seen_.columns.size(), 0.0F);
    std::fill_n(seen_.distances.data, seen_.distances.size(), 0.0F);
    const Workspace::Mark mark(scratch);
    Rows probabilities = scratch.rows(size_t{kRowsAtOnce} * group_, width_);
    const uint32_t judges = std::min(block_, cell_.rows());
    for (uint32_t first = cell_.last - judges; first < cell_.last; first += kRowsAtOnce) {
      const uint32_t count = std::min(kRowsAtOnce, cell_.last - first);
      observe(view_, table_, head_index_, first - view_.first_position, count,
              {probabilities.data, count * group_, width_, width_}, {}, view_.products());
      add_rows(probabilities, first, count);
    }
    pool_blocks(view_.ops, seen_.columns, block_, Pooling::kSum, seen_.column_blocks, lengths_);
    pool_blocks(view_.ops, seen_.distances, block_, Pooling::kSum, seen_.distance_blocks, lengths_);
    const float share = 1.0F / static_cast<float>(judges);
    for (Rows* blocks : {&seen_.column_blocks, &seen_.distance_blocks}) {
      for (size_t i = 0; i < blocks->size(); ++i) blocks->data[i] *= share;
    }
  }

  // Row by row in ascending order, a run of columns at a time.
  void add_rows(const Rows& probabilities, uint32_t first, uint32_t count) {
    const SelectKernels& kernels = select_kernels(view_.ops.isa);
    const uint32_t runs = static_cast<uint32_t>(div_up(slots_, kColumnsAtOnce));
    view_.ops.pool.parallel_for(size_t{runs} * group_, [&](size_t index, int) {
      const uint32_t g = static_cast<uint32_t>(index) % group_;
      const uint32_t begin = static_cast<uint32_t>(index) / group_ * kColumnsAtOnce;
      const uint32_t end = std::min(begin + kColumnsAtOnce, slots_);
      for (uint32_t r = 0; r < count; ++r) {
        const float* row = probabilities.row(size_t{r} * group_ + g);
        const uint32_t seen = table_.slots_before(TokenPos(first + r + 1));
        if (begin < seen) kernels.add(row + begin, std::min(end, seen) - begin, seen_.columns.row(g) + begin);
        // Slot s of a row that sees n lies at slots_ - n + s, so that the row's own entry is the last.
        const uint32_t shift = slots_ - seen;
        const uint32_t from = std::max(begin, shift);
        if (from < end) kernels.add(row + (from - shift), end - from, seen_.distances.row(g) + from);
      }
    });
  }

  // Whether pooled queries and keys give the attention that the representative queries have.
  std::vector<bool> query_aware() {
    std::vector<bool> aware(group_, false);
    if (method_.tau_ == 0) return aware;
    Workspace& scratch = view_.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t judges = std::min(block_, cell_.rows());
    Rows queries = scratch.rows(group_, table_.layout().padded_dim);
    mean_queries(view_, table_, head_index_, {cell_.last - judges, cell_.last}, queries);
    Rows scored = scratch.rows(group_, width_);
    score_slots(view_, table_, head_index_, queries, scored);
    Rows estimate = scratch.rows(group_, all_blocks_);
    pool_blocks(view_.ops, scored, block_, Pooling::kMean, estimate, lengths_);
    softmax(view_.ops, estimate, std::vector<uint32_t>(group_, blocks_));
    for (uint32_t g = 0; g < group_; ++g) {
      double divergence = 0;
      for (uint32_t b = 0; b < blocks_; ++b) {
        const double x = estimate.row(g)[b], y = seen_.column_blocks.row(g)[b], middle = 0.5 * (x + y);
        if (x > 0) divergence += 0.5 * x * std::log(x / middle);
        if (y > 0) divergence += 0.5 * y * std::log(y / middle);
      }
      aware[g] = std::sqrt(std::max(divergence, 0.0)) < method_.tau_;
    }
    return aware;
  }

  // The heaviest `columns` blocks and `diagonals` distances of blocks, the first and the nearest among them.
  void take_lines(uint32_t g, uint32_t columns, uint32_t diagonals) {
    const Workspace::Mark mark(view_.ops.scratch);
    const std::span<const uint32_t> blocks = heaviest(seen_.column_blocks, g, columns, 0);
    const std::span<const uint32_t> reversed = heaviest(seen_.distance_blocks, g, diagonals, blocks_ - 1);
    for (const CellRows& rows : cut_at(block_, cell_.first, cell_.last)) {
      const auto [own_first, own_last] = own_blocks(rows);
      const std::span<uint64_t> pages = pages_of(g, rows);
      for (uint32_t b = own_first; b <= own_last; ++b) method_.mark_pages(pages, b);
      for (const uint32_t b : blocks) {
        if (b <= own_last) method_.mark_pages(pages, b);
      }
      for (const uint32_t far : reversed) {
        const uint32_t distance = blocks_ - 1 - far;
        for (uint32_t b = own_first; b <= own_last; ++b) {
          if (distance <= b) method_.mark_pages(pages, b - distance);
        }
      }
    }
  }

  // Pairs of blocks by pooled attention, heaviest first over all rows of the cell.
  void take_pairs(uint32_t g) {
    Workspace& scratch = view_.ops.scratch;
    const Workspace::Mark taken(scratch);
    const std::vector<CellRows> tiles = cut_at(block_, cell_.first, cell_.last);
    const auto count = static_cast<uint32_t>(tiles.size());
    Rows pooled = scratch.rows(count, blocks_);
    pool_pairs(g, tiles, pooled);
    std::vector<uint32_t> seen;
    for (const CellRows& rows : tiles) seen.push_back(own_blocks(rows).second + 1);
    softmax(view_.ops, pooled, seen);
    const Rows flat{pooled.data, 1, count * blocks_, count * blocks_};
    Masks pairs{scratch.take<uint64_t>(Masks::words_of(flat.width)).data(), 1, flat.width};
    Cut cut;
    find_top_p(view_.ops, flat, method_.gamma_, std::span(&cut, 1));
    mark(view_.ops, flat, std::span(&cut, 1), pairs);
    for (uint32_t i = 0; i < count; ++i) {
      const std::span<uint64_t> pages = pages_of(g, tiles[i]);
      for (uint32_t b = 0; b < seen[i]; ++b) {
        const uint32_t at = i * blocks_ + b;
        if ((pairs.words[at / 64] >> at % 64 & 1) != 0) method_.mark_pages(pages, b);
      }
    }
  }

  void pool_pairs(uint32_t g, const std::vector<CellRows>& tiles, Rows out) {
    Workspace& scratch = view_.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t dim = table_.layout().padded_dim;
    Rows means = scratch.rows(group_, dim);
    Rows queries = scratch.rows(kMeansAtOnce, dim);
    Rows scored = scratch.rows(kMeansAtOnce, width_);
    for (size_t first = 0; first < tiles.size(); first += kMeansAtOnce) {
      const auto count = static_cast<uint32_t>(std::min<size_t>(kMeansAtOnce, tiles.size() - first));
      for (uint32_t i = 0; i < count; ++i) {
        mean_queries(view_, table_, head_index_, tiles[first + i], means);
        std::copy_n(means.row(g), dim, queries.row(i));
      }
      score_slots(view_, table_, head_index_, {queries.data, count, dim, dim}, {scored.data, count, width_, width_});
      pool_blocks(view_.ops, {scored.data, count, slots_, width_}, block_, Pooling::kMean,
                  {out.row(first), count, out.width, out.stride});
    }
  }

  std::span<const uint32_t> heaviest(Rows blocks, uint32_t g, uint32_t count, uint32_t forced) {
    blocks.row(g)[forced] = std::numeric_limits<float>::infinity();
    Lists list{view_.ops.scratch.take<uint32_t>(count).data(), view_.ops.scratch.take<uint32_t>(1).data(), 1, count};
    top_k(view_.ops, {blocks.row(g), 1, blocks.width, blocks.stride}, count, list, std::span(&blocks_, 1));
    return list.row(0);
  }

  // First and last block of slots that hold the entries of these rows.
  std::pair<uint32_t, uint32_t> own_blocks(const CellRows& rows) const {
    return {table_.slots_before(TokenPos(rows.first)) / block_,
            (table_.slots_before(TokenPos(rows.last)) - 1) / block_};
  }

  std::span<uint64_t> pages_of(uint32_t part, const CellRows& rows) const {
    const uint32_t tile = rows.first / block_ - view_.first_position / block_;
    return selection_.pages.row(
        selection_.row(head_index_, part, tile, selection_.tiles(view_.first_position, view_.rows())));
  }

  const FlexPrefill& method_;
  const View& view_;
  const Table& table_;
  size_t head_index_;
  CellRows cell_;
  Selection& selection_;
  uint32_t block_;
  uint32_t group_;
  uint32_t slots_;       // that the cell's last row sees
  uint32_t blocks_;      // of those
  uint32_t width_;       // of rows over slots
  uint32_t all_blocks_;  // that such a row has
  std::vector<uint32_t> lengths_;
  Observed seen_;
};

void FlexPrefill::judge(const View& view, const Table& table, size_t head_index, const CellRows& cell,
                        Selection& selection) const {
  Judge(*this, view, table, head_index, cell, selection).run();
}

Status check_flexprefill(const MethodCall& call) {
  const auto o = call.as<FlexPrefillOptions>();
  if ((o.block & (o.block - 1)) != 0)
    return fail(ErrorCode::kInvalidArgument, "block is {}, but must be a power of two", o.block);
  if (o.cell % o.block == 0) return {};
  return fail(ErrorCode::kInvalidArgument, "cell is {}, but must be a multiple of the block of {}", o.cell, o.block);
}

Result<std::unique_ptr<Select>> make_flexprefill(const MethodCall& call, const MethodContext& context) {
  return std::unique_ptr<Select>(std::make_unique<FlexPrefill>(call.as<FlexPrefillOptions>(), context.model));
}

}  // namespace

const Method kFlexPrefill = {
    .name = "flexprefill",
    .summary = "A prompt's queries read the blocks that its last queries' attention, or pooled attention, points to.",
    .stages = {Stage::kSelect},
    .phases = {Phase::kPrefill},
    .parameters = {number<&FlexPrefillOptions::gamma>("gamma", {0.01, 1.1}, "of the attention",
                                                      "that the chosen blocks are to cover; above 1: all"),
                   number<&FlexPrefillOptions::tau>("tau", {0, 1}, "",
                                                    "distance below which pooled attention is trusted; 0: never"),
                   integer<&FlexPrefillOptions::min_budget>("min_budget", {1, 1 << 24}, "tokens",
                                                            "of columns, and of diagonals, that are read at least"),
                   integer<&FlexPrefillOptions::block>("block", {64, 1024, 64}, "tokens",
                                                       "of a block of queries and of keys, a power of two"),
                   integer<&FlexPrefillOptions::cell>("cell", {256, 1 << 16, 64}, "tokens", "that share a judgement")},
    .cell = {.count = 1, .times = {"cell"}},
    .tile = {.count = 1, .times = {"block"}},
    .idle_until = [](const MethodCall& call) { return covered(call.as<FlexPrefillOptions>()); },
    .citation =
        "FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient Long-Sequence Inference, "
        "arXiv:2502.20766",
    .dense_when = "gamma > 1",
    .trial = "gamma=0.8,min_budget=64,block=64,cell=256",
    .dense_trial = "gamma=1.05,cell=256",
    .check = check_flexprefill,
    .make_select = make_flexprefill,
};

}  // namespace loci
