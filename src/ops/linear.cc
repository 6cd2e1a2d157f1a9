#include "ops/linear.h"

#include <algorithm>

#include "base/assert.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/gemm/pack.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci {
namespace {

constexpr size_t kReleaseBytes = size_t{4} << 20;  // file bytes packed between two calls of `packed`
constexpr size_t kItemWeightBytes = 24 << 10;      // of panels in a work item: about a microsecond of memory bandwidth
constexpr uint32_t kItemRows = 96;                 // activation rows in a work item: they stay in a core's cache
constexpr uint32_t kSpanRows = 24;                 // activation rows that one worker rounds at a time

}  // namespace

// --- packing ---

uint64_t PackedMatrix::planned_bytes(DType dtype, uint64_t rows, uint64_t columns, Activations activations) {
  const WeightLayout layout = layout_of(dtype, activations != Activations::kF32);
  return div_up(rows, kPanelRows) * panel_shape(layout, static_cast<uint32_t>(columns)).bytes;
}

Result<PackedMatrix> PackedMatrix::pack(const Tensor& tensor, Activations activations, ThreadPool& pool,
                                        const std::function<void(std::span<const std::byte>)>& packed) {
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
  PackedMatrix m;
  m.layout_ = layout_of(tensor.dtype, activations != Activations::kF32);
  m.rows_ = static_cast<uint32_t>(rows);
  m.columns_ = static_cast<uint32_t>(columns);
  m.panel_bytes_ = panel_shape(m.layout_, m.columns_).bytes;
  LOCI_TRY(m.data_, Buffer::allocate(m.panels() * m.panel_bytes_));

  // A stretch of panels per loop, so that `packed` hears of file bytes while the rest is still being packed.
  const size_t stretch = std::max<size_t>(1, kReleaseBytes / (kPanelRows * *row_stride));
  std::vector<PanelPacker> packers(static_cast<size_t>(pool.size()), PanelPacker(tensor.dtype, m.layout_, m.columns_));
  for (size_t first = 0; first < m.panels(); first += stretch) {
    const size_t count = std::min(stretch, m.panels() - first);
    pool.parallel_for(count, [&](size_t i, int worker) {
      const size_t row = (first + i) * kPanelRows;
      const auto exist = static_cast<uint32_t>(std::min<uint64_t>(kPanelRows, rows - row));
      packers[static_cast<size_t>(worker)].pack(tensor.data.data() + row * *row_stride, *row_stride, exist,
                                                m.data_.data() + (first + i) * m.panel_bytes_);
    });
    if (packed) {
      const size_t begin = first * kPanelRows * *row_stride;
      const size_t end = std::min<size_t>((first + count) * kPanelRows * *row_stride, tensor.data.size());
      packed(tensor.data.subspan(begin, end - begin));
    }
  }
  return m;
}

void PackedMatrix::unpack_row(uint32_t row, std::span<float> out) const {
  LOCI_ASSERT(row < rows_ && out.size() == columns_, "a row of the matrix and room for it");
  unpack_panel_row(layout_, columns_, panel(row / kPanelRows), row % kPanelRows, out);
}

// --- products ---

namespace {

// A part's share of the work: items are (chunk of rows, range of panels).
struct PartWork {
  const PackedMatrix* matrix;
  const std::byte* activations;  // rounded or float, as the layout reads
  size_t row_bytes;              // of the activations
  uint32_t terms;                // rows of activations whose products add up to one row of `out`
  Rows out;
  MultiplyPanel multiply;
  PanelShape shape;
  size_t panels_per_item;
  size_t ranges;      // panel ranges
  size_t first_item;  // of this part
};

// Adds the products of the terms of each row, in order.
void add_terms(const float* products, uint32_t rows, uint32_t outputs, Rows out, uint32_t first_row, size_t column) {
  for (uint32_t row = 0; row < rows; row += 2) {
    float* to = out.row((first_row + row) / 2) + column;
    const float* from = products + size_t{row} * kPanelRows;
    for (uint32_t i = 0; i < outputs; ++i) to[i] = from[i] + from[kPanelRows + i];
  }
}

// `rows` counts the rows of activations: each row of `out` has `terms` of them, next to each other.
void run_item(const PartWork& w, Isa isa, size_t item, uint32_t rows) {
  Rows out = w.out;
  float products[kMaxGroupRows * kPanelRows];
  const size_t first_panel = item % w.ranges * w.panels_per_item;
  const size_t last_panel = std::min(first_panel + w.panels_per_item, w.matrix->panels());
  const auto first_row = static_cast<uint32_t>(item / w.ranges * kItemRows);
  const uint32_t last_row = std::min(first_row + kItemRows, rows);
  for (size_t panel = first_panel; panel < last_panel; ++panel) {
    PanelProduct p{};
    p.panel = w.matrix->panel(panel);
    p.shape = w.shape;
    p.columns = w.matrix->columns();
    p.out_stride = w.terms == 1 ? out.stride : kPanelRows;
    p.outputs = static_cast<uint32_t>(std::min<size_t>(kPanelRows, w.matrix->rows() - panel * kPanelRows));
    for (uint32_t row = first_row; row < last_row; row += p.rows) {
      p.rows = group_rows(isa, last_row - row);
      p.group = w.activations + row * w.row_bytes;
      p.out = w.terms == 1 ? out.row(row) + panel * kPanelRows : products;
      w.multiply(p);
      if (w.terms == 2) add_terms(products, p.rows, p.outputs, out, row, panel * kPanelRows);
    }
  }
}

// Calls place(row, GroupRow) for rows 0, step, 2 step, ... of `rows`: the groups are those that run_item walks. With a
// step of 2 a group holds both rows of a pair.
template <typename Place>
void place_rows(OpContext& context, uint32_t rows, uint32_t step, std::byte* to, size_t row_bytes, Place&& place) {
  constexpr uint32_t kSpansPerChunk = kItemRows / kSpanRows;
  const auto place_span = [&](size_t item, int worker) {
    const auto first = static_cast<uint32_t>(item / kSpansPerChunk) * kItemRows;
    const auto span = static_cast<uint32_t>(item % kSpansPerChunk);
    const uint32_t last = std::min(first + kItemRows, rows);
    for (uint32_t row = first, group; row < last; row += group) {
      group = group_rows(context.isa, last - row);
      if ((row - first) / kSpanRows != span) continue;
      for (uint32_t r = 0; r < group; r += step) place(row + r, GroupRow{to + row * row_bytes, group, r}, worker);
    }
  };
  const size_t spans = div_up(rows, kSpanRows);
  if (spans == 1) return place_span(0, 0);
  context.pool.parallel_for(spans, place_span);
}

}  // namespace

Linear::Linear(std::vector<PackedMatrix> parts, Activations activations)
    : parts_(std::move(parts)), terms_(activations == Activations::kInt16 ? 2 : 1) {
  for (const PackedMatrix& m : parts_) {
    LOCI_ASSERT(m.columns() == parts_.front().columns(), "the parts of a Linear multiply the same input");
  }
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
    rounded = context.scratch.take<std::byte>(x.rows * terms_ * rounded_row_bytes(columns)).data();
    const auto workers = static_cast<size_t>(context.pool.size());
    float* rests = terms_ == 2 ? context.scratch.take<float>(workers * columns).data() : nullptr;
    const RoundRow round = round_row(context.isa);
    place_rows(context, x.rows * terms_, terms_, rounded, rounded_row_bytes(columns),
               [&](uint32_t row, const GroupRow& to, int worker) {
                 round(x.row(row / terms_), columns, to);
                 if (terms_ == 1) return;
                 float* rest = rests + static_cast<size_t>(worker) * columns;
                 rounding_rest(context.isa)(x.row(row / 2), columns, to, rest);
                 round(rest, columns, GroupRow{to.group, to.rows, to.in_group + 1});
               });
  }
  if (any_float) {
    floats = context.scratch.take<std::byte>(x.rows * float_row_bytes(columns)).data();
    place_rows(context, x.rows, 1, floats, float_row_bytes(columns),
               [&](uint32_t row, const GroupRow& to, int) { place_row(x.row(row), columns, to); });
  }

  const std::span<PartWork> work = context.scratch.take<PartWork>(parts_.size());
  size_t items = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PackedMatrix& m = parts_[i];
    LOCI_ASSERT(out[i].rows == x.rows && out[i].width == m.rows(),
                "an output has the input's rows and the part's width");
    PartWork& w = work[i];
    const bool integer = info(m.layout()).integer;
    w = {&m,
         integer ? rounded : floats,
         integer ? rounded_row_bytes(columns) : float_row_bytes(columns),
         integer ? terms_ : 1u,
         out[i],
         multiply_panel(m.layout(), context.isa),
         panel_shape(m.layout(), m.columns()),
         0,
         0,
         items};
    w.panels_per_item = std::clamp<size_t>(kItemWeightBytes / w.shape.bytes, 1, std::max<size_t>(1, m.panels() / 8));
    w.ranges = div_up(m.panels(), w.panels_per_item);
    items += w.ranges * div_up(x.rows * w.terms, kItemRows);
  }
  context.pool.parallel_for(items, [&](size_t item, int) {
    size_t part = work.size() - 1;
    while (work[part].first_item > item) --part;
    run_item(work[part], context.isa, item - work[part].first_item, x.rows * work[part].terms);
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
  if (any_integer) bytes += Workspace::bytes_of<std::byte>(rows * terms_ * rounded_row_bytes(columns));
  if (any_integer && terms_ == 2) bytes += Workspace::bytes_of<float>(static_cast<size_t>(threads) * columns);
  if (any_float) bytes += Workspace::bytes_of<std::byte>(rows * float_row_bytes(columns));
  return bytes;
}

size_t Linear::scratch_bound(size_t rows, size_t columns, int threads) {
  constexpr size_t kMostParts = 16;
  const size_t padded = round_up(columns, 32);
  return Workspace::bytes_of<PartWork>(kMostParts) +
         Workspace::bytes_of<std::byte>(rows * 2 * rounded_row_bytes(padded)) +
         Workspace::bytes_of<float>(static_cast<size_t>(threads) * padded) +
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
