#include "attention/stages/observe.h"

#include <algorithm>

#include "attention/primitives/scores.h"
#include "attention/primitives/softmax.h"
#include "base/checked.h"

namespace loci {

namespace {

// Of rows against every slot, scaled, without masking.
void score_rows(const View& view, const Table& table, size_t head_index, uint32_t first, uint32_t count, Rows out,
                Products products) {
  const ModelShape& model = view.model;
  const uint32_t group = model.group();
  const PageLayout& layout = table.layout();
  Workspace& scratch = view.ops.scratch;
  const Workspace::Mark mark(scratch);
  Rows queries = scratch.rows(size_t{count} * group, layout.padded_dim);
  const size_t column = size_t{table.heads()[head_index].value} * group * model.head_dim;
  for (uint32_t i = 0; i < count; ++i) {
    float* row = const_cast<float*>(view.queries.row(first + i)) + column;
    prepare_queries(layout, {row, group, model.head_dim, model.head_dim}, model.score_scale,
                    {queries.row(size_t{i} * group), group, queries.width, queries.stride});
  }
  std::vector<const std::byte*> pages;
  for (uint32_t slot = 0; slot < table.length(); slot += kPageSlots) {
    LOCI_ASSERT(table.stripe_present(slot / kPageSlots), "what is observed is there as a whole");
    pages.push_back(table.page_of(SlotId(slot), head_index));
  }
  const ScoreJob job{.keys = {.layout = &layout, .pages = pages, .tiles = nullptr, .count = table.length()},
                     .queries = queries,
                     .scores = out,
                     .products = products};
  scores(view.ops, std::span(&job, 1));
}

}  // namespace

uint32_t observed_width(const Table& table) { return static_cast<uint32_t>(round_up(table.length(), kPageSlots)); }

void observe(const View& view, const Table& table, size_t head_index, uint32_t first, uint32_t count, Rows out,
             std::span<float> lse, Products products) {
  score_rows(view, table, head_index, first, count, out, products);
  const uint32_t group = view.model.group();
  std::vector<uint32_t> lengths(size_t{count} * group);
  for (uint32_t i = 0; i < count; ++i) {
    std::fill_n(lengths.begin() + static_cast<ptrdiff_t>(size_t{i} * group), group,
                table.slots_before(TokenPos(view.first_position + first + i + 1)));
  }
  softmax(view.ops, out, lengths, lse);
}

uint64_t observe_scratch_bytes(const ModelShape& model, uint32_t count, int threads) {
  const uint32_t padded = static_cast<uint32_t>(round_up(model.head_dim, kCodeGroup));
  return Workspace::bytes_of<float>(uint64_t{count} * model.group() * padded) +
         scores_scratch_bytes(padded, 1, threads);
}

}  // namespace loci
