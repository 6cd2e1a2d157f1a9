#include "ops/linear.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "base/assert.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/gemm/pack.h"
#include "kernels/cpu/gemm/widen.h"
#include "kernels/cpu/quantize/activations.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

constexpr size_t kReleaseBytes = size_t{4} << 20;  // file bytes packed between two calls of `packed`
constexpr size_t kItemWeightBytes = 24 << 10;      // of panels in a work item: about a microsecond of memory bandwidth
constexpr size_t kItemCachedBytes = 96 << 10;      // the same where many rows share them: they stay in a core's cache
constexpr uint32_t kManyRows = 24;
constexpr uint32_t kWidenRows = 8;  // from which on 4-bit panels are widened before they are multiplied
constexpr uint32_t kItemRows = 96;  // activation rows in a work item: they stay in a core's cache
constexpr uint32_t kSpanRows = 24;  // activation rows that one worker rounds at a time
static_assert(kWidenRows <= kTileGroupRows, "groups of a tile multiply 8-bit codes");
constexpr size_t kItemsPerWorker = 4;  // at least, where there are enough panels

// Half a step is what rounding may move an activation, in shares of its row's mean. 0.016 keeps the mean error of
// log-probabilities at about 0.015 (docs/accuracy.md); it grows in proportion, and plain 8 bits give 0.06. Larger steps
// are faster: fewer columns stick out.
constexpr Precision kInt16{0.016F};
constexpr Precision kInt16Finer{0.01F};
constexpr Precision kInt8{std::numeric_limits<float>::infinity()};
constexpr Precision kWholeRow{std::numeric_limits<float>::infinity(), true};

}  // namespace

// --- packing ---

namespace {

// Whether rows of a format with one scale per row keep to its ranges; others have none.
bool rows_hold(const Tensor& tensor, size_t first, uint32_t count, size_t stride) {
  if (!is_row_scaled(tensor.dtype)) return true;
  for (size_t row = first; row < first + count; ++row) {
    if (!row_holds(tensor.dtype, tensor.data.data() + row * stride, tensor.columns())) return false;
  }
  return true;
}

}  // namespace

uint64_t PackedMatrix::planned_bytes(DType dtype, uint64_t rows, uint64_t columns, Activations activations) {
  const WeightLayout layout = layout_of(dtype, activations != Activations::kF32);
  return div_up(rows, kPanelRows) * panel_shape(layout, static_cast<uint32_t>(columns)).bytes;
}

Result<PackedMatrix> PackedMatrix::pack(const Tensor& tensor, Activations activations, ThreadPool& pool,
                                        const std::function<void(std::span<const std::byte>)>& packed, Arena* arena) {
  const uint64_t rows = tensor.rows(), columns = tensor.columns();
  if (rows == 0 || columns == 0 || rows > UINT32_MAX - kPanelRows || columns > UINT32_MAX / 8) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' is {} x {}: a matrix has 1 to 2^29 rows and columns", tensor.name,
                rows, columns);
  }
  const std::optional<size_t> row_stride = row_bytes(tensor.dtype, columns);
  if (!row_stride || checked_mul<size_t>(*row_stride, rows) != tensor.data.size()) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' ({} x {}, {}) does not fill its {} bytes of data", tensor.name, rows,
                columns, info(tensor.dtype).name, tensor.data.size());
  }
  if (info(layout_of(tensor.dtype, true)).exact && columns > kMostExactColumns) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' has {} columns, but rows of {} may have at most {}", tensor.name,
                columns, info(tensor.dtype).name, kMostExactColumns);
  }
  PackedMatrix m;
  m.layout_ = layout_of(tensor.dtype, activations != Activations::kF32);
  m.rows_ = static_cast<uint32_t>(rows);
  m.columns_ = static_cast<uint32_t>(columns);
  m.panel_bytes_ = panel_shape(m.layout_, m.columns_).bytes;
  const size_t bytes = m.panels() * m.panel_bytes_;
  LOCI_TRY(m.data_, arena == nullptr ? Buffer::allocate(bytes) : arena->take(bytes));

  // A stretch of panels per loop, so that `packed` hears of file bytes while the rest is still being packed.
  const size_t stretch = std::max<size_t>(1, kReleaseBytes / (kPanelRows * *row_stride));
  std::atomic<bool> holds{true};
  std::vector<PanelPacker> packers(static_cast<size_t>(pool.size()), PanelPacker(tensor.dtype, m.layout_, m.columns_));
  for (size_t first = 0; first < m.panels(); first += stretch) {
    const size_t count = std::min(stretch, m.panels() - first);
    pool.parallel_for(count, [&](size_t i, int worker) {
      const size_t row = (first + i) * kPanelRows;
      const auto exist = static_cast<uint32_t>(std::min<uint64_t>(kPanelRows, rows - row));
      if (!rows_hold(tensor, row, exist, *row_stride)) holds = false;
      packers[static_cast<size_t>(worker)].pack(tensor.data.data() + row * *row_stride, *row_stride, exist,
                                                m.data_.data() + (first + i) * m.panel_bytes_);
    });
    if (packed) {
      const size_t begin = first * kPanelRows * *row_stride;
      const size_t end = std::min<size_t>((first + count) * kPanelRows * *row_stride, tensor.data.size());
      packed(tensor.data.subspan(begin, end - begin));
    }
  }
  if (!holds) {
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' ({}) has a step above {}, a zero above 15 or an integer beyond 8 bits; quantize the model "
                "again",
                tensor.name, info(tensor.dtype).name, kMostStep);
  }
  return m;
}

void PackedMatrix::unpack_row(uint32_t row, std::span<float> out) const {
  LOCI_ASSERT(row < rows_ && out.size() == columns_, "a row of the matrix and room for it");
  unpack_panel_row(layout_, columns_, panel(row / kPanelRows), row % kPanelRows, out);
}

// --- products ---

namespace {

// Activation rows in a work item: whole groups, spread evenly.
uint32_t item_rows(uint32_t rows) {
  const uint32_t items = static_cast<uint32_t>(div_up(rows, kItemRows));
  return static_cast<uint32_t>(round_up(div_up(rows, items), size_t{kGroupsMeet}));
}

// Whole tiles, so many that their weights stay in a core's cache and every worker gets several items, evenly.
size_t panels_per_item(size_t panels, size_t panel_bytes, uint32_t rows, int workers) {
  const size_t row_items = div_up(rows, item_rows(rows));
  const size_t wanted = (rows >= kManyRows ? kItemCachedBytes : kItemWeightBytes) / panel_bytes;
  const size_t ranges = std::max(div_up(panels, std::max<size_t>(1, wanted)),
                                 div_up(kItemsPerWorker * static_cast<size_t>(workers), row_items));
  return round_up(div_up(panels, ranges), kTilePanels);
}

// Bytes in which a worker widens the panels of an item; 0 where products of so many rows read the packed ones.
size_t widened_bytes(const PackedMatrix& m, uint32_t rows, int workers) {
  const std::optional<WeightLayout> wide = wider_layout(m.layout());
  if (!wide || rows < kWidenRows) return 0;
  const size_t packed_bytes = panel_shape(m.layout(), m.columns()).bytes;
  return panels_per_item(m.panels(), packed_bytes, rows, workers) * panel_shape(*wide, m.columns()).bytes;
}

// The most that all parts need.
size_t widened_bytes(std::span<const PackedMatrix> parts, uint32_t rows, int workers) {
  size_t bytes = 0;
  for (const PackedMatrix& m : parts) bytes = std::max(bytes, widened_bytes(m, rows, workers));
  return round_up(bytes, size_t{64});
}

// A part's share of the work: items are (some rows, range of panels).
struct PartWork {
  const PackedMatrix* matrix;
  std::optional<Widening> widening;
  bool integer;
  const std::byte* activations;  // rounded or float, as the layout reads
  size_t row_bytes;              // of the activations
  Rows out;
  MultiplyTile multiply;
  PanelShape shape;  // of the panels that are multiplied
  size_t panels_per_item;
  size_t ranges;      // of panels
  size_t first_item;  // of this part
};

// Fetches the panels of a worker's next item, which mostly lie behind this one's, evenly spread over the calls.
class NextPanels {
 public:
  NextPanels(const PackedMatrix& m, size_t first_panel, size_t last_panel, uint32_t rows, uint32_t group)
      : at_(m.panel(last_panel)), blocks_(m.columns() / kBlockColumns) {
    const size_t bytes = static_cast<size_t>(m.panel(last_panel) - m.panel(first_panel));
    // Tiles of a few rows and panels: about as many calls, each of which fetches as many lines for every block.
    const size_t calls = div_up(rows, size_t{group}) * div_up(last_panel - first_panel, size_t{4});
    lines_ = blocks_ == 0 ? 0 : static_cast<uint32_t>(div_up(bytes, 64 * calls * blocks_));
    left_ = bytes;
  }

  void share(TileProduct& t) {
    t.ahead = at_;
    t.ahead_lines = left_ == 0 ? 0 : lines_;
    const size_t bytes = size_t{64} * lines_ * blocks_;
    at_ += bytes;
    left_ -= std::min(left_, bytes);
  }

 private:
  const std::byte* at_;
  size_t blocks_;
  size_t left_;
  uint32_t lines_;
};

// A group's rows meet all tiles of the item before the next group does: the pattern of wide columns, which kernels
// branch on, is the group's.
void run_item(const PartWork& w, Isa isa, size_t item, std::byte* widened) {
  Rows out = w.out;
  const uint32_t rows_per_item = item_rows(out.rows);
  const size_t first_panel = item % w.ranges * w.panels_per_item;
  const size_t last_panel = std::min(first_panel + w.panels_per_item, w.matrix->panels());
  const auto first_row = static_cast<uint32_t>(item / w.ranges * rows_per_item);
  const uint32_t last_row = std::min(first_row + rows_per_item, out.rows);
  const std::byte* panels = w.matrix->panel(first_panel);
  if (w.widening) {
    w.widening->run(panels, last_panel - first_panel, w.matrix->columns(), widened);
    panels = widened;
  }
  TileProduct t{};
  t.shape = w.shape;
  t.columns = w.matrix->columns();
  t.out_stride = out.stride;
  const uint32_t rows = last_row - first_row;
  NextPanels next(*w.matrix, first_panel, last_panel, rows, group_rows(isa, w.integer, rows));
  for (uint32_t row = first_row; row < last_row; row += t.rows) {
    t.rows = group_rows(isa, w.integer, last_row - row);
    t.group = w.activations + row * w.row_bytes;
    for (size_t panel = first_panel; panel < last_panel; panel += t.panels) {
      t.panel = panels + (panel - first_panel) * w.shape.bytes;
      t.panels = tile_panels(w.integer, t.rows, last_panel - panel);
      t.out = out.row(row) + panel * kPanelRows;
      t.outputs = static_cast<uint32_t>(std::min<size_t>(t.panels * kPanelRows, out.width - panel * kPanelRows));
      next.share(t);
      w.multiply(t);
    }
  }
}

// Calls place(row, GroupRow) for every row: the groups are those that run_item walks.
template <typename Place>
void place_rows(OpContext& context, bool integer, uint32_t rows, std::byte* to, size_t row_bytes, Place&& place) {
  const uint32_t rows_per_item = item_rows(rows);
  const uint32_t spans_per_item = static_cast<uint32_t>(div_up(rows_per_item, kSpanRows));
  const auto place_span = [&](size_t item, int) {
    const auto first = static_cast<uint32_t>(item / spans_per_item) * rows_per_item;
    const auto span = static_cast<uint32_t>(item % spans_per_item);
    const uint32_t last = std::min(first + rows_per_item, rows);
    for (uint32_t row = first, group; row < last; row += group) {
      group = group_rows(context.isa, integer, last - row);
      if ((row - first) / kSpanRows != span) continue;
      for (uint32_t r = 0; r < group; ++r) place(row + r, GroupRow{to + row * row_bytes, group, r});
    }
  };
  const size_t spans = div_up(rows, rows_per_item) * spans_per_item;
  if (spans == 1) return place_span(0, 0);
  context.pool.parallel_for(spans, place_span);
}

}  // namespace

Linear::Linear(std::vector<PackedMatrix> parts, Activations activations)
    : parts_(std::move(parts)), precision_(activations == Activations::kInt16 ? kInt16 : kInt8) {
  for (const PackedMatrix& m : parts_) {
    LOCI_ASSERT(m.columns() == parts_.front().columns(), "the parts of a Linear multiply the same input");
    LOCI_ASSERT(m.exact() == parts_.front().exact(), "the parts of a Linear round it alike");
  }
  if (!parts_.empty() && parts_.front().exact()) precision_ = kWholeRow;
}

void Linear::round_finer() {
  if (precision_.step == kInt16.step) precision_ = kInt16Finer;
}

void Linear::project(OpContext& context, const Rows& x, std::span<Rows> out) const {
  LOCI_ASSERT(out.size() == parts_.size(), "one output for each part");
  if (x.rows == 0 || parts_.empty()) return;
  const size_t columns = parts_.front().columns();
  LOCI_ASSERT(x.width == columns, "the input is as wide as the matrices");

  Workspace::Mark mark(context.scratch);
  bool any_integer = false, any_float = false;
  for (const PackedMatrix& m : parts_) (info(m.layout()).integer ? any_integer : any_float) = true;
  std::byte* rounded = nullptr;
  std::byte* floats = nullptr;
  if (any_integer) {
    rounded = context.scratch.take<std::byte>(x.rows * rounded_row_bytes(columns)).data();
    const RoundRow round = round_row(context.isa);
    place_rows(context, true, x.rows, rounded, rounded_row_bytes(columns),
               [&](uint32_t row, const GroupRow& to) { round(x.row(row), columns, precision_, to); });
  }
  if (any_float) {
    floats = context.scratch.take<std::byte>(x.rows * float_row_bytes(columns)).data();
    place_rows(context, false, x.rows, floats, float_row_bytes(columns),
               [&](uint32_t row, const GroupRow& to) { place_row(x.row(row), columns, to); });
  }

  const std::span<PartWork> work = context.scratch.take<PartWork>(parts_.size());
  size_t items = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PackedMatrix& m = parts_[i];
    LOCI_ASSERT(out[i].rows == x.rows && out[i].width == m.rows(),
                "an output has the input's rows and the part's width");
    PartWork& w = work[i];
    const bool integer = info(m.layout()).integer;
    w = {};
    w.matrix = &m;
    w.integer = integer;
    w.activations = integer ? rounded : floats;
    w.row_bytes = integer ? rounded_row_bytes(columns) : float_row_bytes(columns);
    w.out = out[i];
    if (x.rows >= kWidenRows) w.widening = widening(m.layout(), context.isa);
    const WeightLayout multiplied = w.widening ? w.widening->to : m.layout();
    w.multiply = multiply_tile(multiplied, context.isa);
    w.shape = panel_shape(multiplied, m.columns());
    w.panels_per_item =
        panels_per_item(m.panels(), panel_shape(m.layout(), m.columns()).bytes, x.rows, context.pool.size());
    w.ranges = div_up(m.panels(), w.panels_per_item);
    w.first_item = items;
    items += w.ranges * div_up(x.rows, item_rows(x.rows));
  }
  const size_t own_bytes = widened_bytes(parts_, x.rows, context.pool.size());
  std::byte* widened = context.scratch.take<std::byte>(own_bytes * static_cast<size_t>(context.pool.size())).data();
  context.pool.parallel_for(items, [&](size_t item, int worker) {
    size_t part = work.size() - 1;
    while (work[part].first_item > item) --part;
    run_item(work[part], context.isa, item - work[part].first_item, widened + static_cast<size_t>(worker) * own_bytes);
  });
}

void Linear::project(OpContext& context, const Rows& x, Rows out) const {
  LOCI_ASSERT(parts_.size() == 1, "one output is for a Linear of one part");
  project(context, x, std::span<Rows>(&out, 1));
}

size_t Linear::scratch_bytes(size_t rows, int threads) const {
  if (parts_.empty()) return 0;
  const size_t columns = parts_.front().columns();
  size_t bytes = Workspace::bytes_of<PartWork>(parts_.size());
  bool any_integer = false, any_float = false;
  for (const PackedMatrix& m : parts_) (info(m.layout()).integer ? any_integer : any_float) = true;
  if (any_integer) bytes += Workspace::bytes_of<std::byte>(rows * rounded_row_bytes(columns));
  if (any_float) bytes += Workspace::bytes_of<std::byte>(rows * float_row_bytes(columns));
  const size_t widened = widened_bytes(parts_, static_cast<uint32_t>(rows), threads);
  return bytes + Workspace::bytes_of<std::byte>(widened * static_cast<size_t>(threads));
}

size_t Linear::scratch_bound(size_t rows, size_t columns, int threads) {
  constexpr size_t kMostParts = 16;
  const size_t padded = round_up(columns, 32);
  // An item's panels are at most kItemCachedBytes and a tile more; widening less than doubles them.
  const size_t tile = kTilePanels * panel_shape(WeightLayout::kW8m, static_cast<uint32_t>(padded)).bytes;
  const size_t widened = rows < kWidenRows ? 0 : 2 * kItemCachedBytes + tile + 64;
  return Workspace::bytes_of<std::byte>(widened * static_cast<size_t>(threads)) +
         Workspace::bytes_of<PartWork>(kMostParts) + Workspace::bytes_of<std::byte>(rows * rounded_row_bytes(padded)) +
         Workspace::bytes_of<std::byte>(rows * float_row_bytes(padded));
}

uint64_t Linear::bytes() const {
  uint64_t total = 0;
  for (const PackedMatrix& m : parts_) total += m.bytes();
  return total;
}

uint64_t Linear::macs() const {
  uint64_t total = 0;
  for (const PackedMatrix& m : parts_) total += uint64_t{m.rows()} * m.columns();
  return total;
}

}  // namespace loci
