#include "attention/select/cells.h"

#include <algorithm>

#include "attention/primitives/sets.h"
#include "kernels/cpu/select/select_kernels.h"

namespace loci {

std::vector<CellRows> cut_at(uint32_t grid, uint32_t first, uint32_t last) {
  std::vector<CellRows> out;
  while (first < last) {
    const uint32_t next = static_cast<uint32_t>(std::min(uint64_t{last}, (uint64_t{first} / grid + 1) * grid));
    out.push_back({first, next});
    first = next;
  }
  return out;
}

void take_all_pages(const View& view, size_t head_index, CellRows rows, Selection& selection) {
  const uint32_t tiles = selection.tiles(view.first_position, view.rows());
  for (uint32_t part = 0; part < selection.parts; ++part) {
    for (const CellRows& tile : cut_at(selection.tile, rows.first, rows.last)) {
      const uint32_t index = tile.first / selection.tile - view.first_position / selection.tile;
      const size_t row = selection.row(head_index, part, index, tiles);
      mark_range({selection.pages.row(row).data(), 1, selection.pages.width}, 0, selection.pages.width);
    }
  }
}

void mean_queries(const View& view, const Table& table, size_t head_index, CellRows over, Rows out) {
  const Workspace::Mark mark(view.ops.scratch);
  const uint32_t dim = view.model.head_dim;
  Rows mean = view.ops.scratch.rows(view.model.group(), dim);
  std::fill_n(mean.data, mean.size(), 0.0F);
  const SelectKernels& kernels = select_kernels(view.ops.isa);
  const size_t column = size_t{table.heads()[head_index].value} * view.model.group() * dim;
  for (uint32_t position = over.first; position < over.last; ++position) {
    kernels.add(view.queries.row(position - view.first_position) + column, mean.size(), mean.data);
  }
  prepare_queries(table.layout(), mean, view.model.score_scale / static_cast<float>(over.rows()), out);
}

uint64_t mean_queries_bytes(const ModelShape& model) {
  return Workspace::bytes_of<float>(model.group() * model.head_dim);
}

void score_slots(const View& view, const Table& table, size_t head_index, const Rows& queries, Rows out) {
  std::vector<const std::byte*> pages;
  for (uint32_t slot = 0; slot < table.length(); slot += kPageSlots) {
    LOCI_ASSERT(table.stripe_present(slot / kPageSlots), "what is scored is there as a whole");
    pages.push_back(table.page_of(SlotId(slot), head_index));
  }
  const ScoreJob job{.keys = {.layout = &table.layout(), .pages = pages, .tiles = nullptr, .count = table.length()},
                     .queries = queries,
                     .scores = out,
                     .products = view.products()};
  scores(view.ops, std::span(&job, 1));
}

}  // namespace loci
