#include "attention/select/page_means.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/checked.h"

namespace loci {
namespace {

std::string tile_name(KvHead head, uint32_t tile) { return fmt::format("means {} {}", head.value, tile); }
std::string counts_name(KvHead head) { return fmt::format("mean counts {}", head.value); }

// Pages whose means hold; none if entries were taken out since.
uint32_t covered(const View& view, KvHead head, uint32_t pages) {
  const std::span<const uint32_t> counts = view.state.read<uint32_t>(counts_name(head));
  if (counts.size() != 2 || counts[0] != view.cache.edited() || counts[1] > pages) return 0;
  return counts[1];
}

struct Fill {
  size_t head_index;
  uint32_t page;
  float* tile;
};

}  // namespace

void PageMeans::update(const View& view, const Table& table) {
  const PageLayout& layout = table.layout();
  const uint32_t pages = table.length() / kPageSlots;
  const size_t floats = size_t{layout.padded_dim} * kPageSlots;
  std::vector<Fill> fills;
  for (size_t h = 0; h < table.heads().size(); ++h) {
    const KvHead head = table.heads()[h];
    const uint32_t done = covered(view, head, pages);
    if (done == pages) continue;
    for (uint32_t tile = done / kPageSlots; tile * kPageSlots < pages; ++tile) {
      const std::span<const float> before = view.state.read<float>(tile_name(head, tile));
      std::vector<float> old(before.begin(), before.end());
      old.resize(floats);
      const std::span<float> now = view.state.write<float>(tile_name(head, tile), floats);
      std::copy(old.begin(), old.end(), now.begin());
      const uint32_t end = std::min(pages, (tile + 1) * kPageSlots);
      for (uint32_t page = std::max(done, tile * kPageSlots); page < end; ++page)
        fills.push_back({h, page, now.data()});
    }
    view.state.store<uint32_t>(counts_name(head), std::array{view.cache.edited(), pages});
  }
  Workspace& scratch = view.ops.scratch;
  const Workspace::Mark mark(scratch);
  const std::span<float> decoded = scratch.take<float>(floats * static_cast<size_t>(view.ops.pool.size()));
  view.ops.pool.parallel_for(fills.size(), [&](size_t i, int worker) {
    const Fill& fill = fills[i];
    pool_keys(layout, table.page_of(SlotId(fill.page * kPageSlots), fill.head_index), kPageSlots, view.ops.isa,
              decoded.data() + static_cast<size_t>(worker) * floats, fill.tile, fill.page % kPageSlots);
  });
}

void PageMeans::add_jobs(const View& view, const Table& table, KvHead head, uint32_t pages, Rows queries, Rows scores,
                         std::vector<ScoreJob>& jobs) {
  for (uint32_t page = 0; page < pages; page += kPageSlots) {
    const std::span<const float> tile = view.state.read<float>(tile_name(head, page / kPageSlots));
    jobs.push_back({.keys = {.layout = &table.layout(),
                             .pages = {},
                             .tiles = tile.data(),
                             .count = std::min(kPageSlots, pages - page)},
                    .queries = queries,
                    .scores = {scores.data + page, scores.rows, kPageSlots, scores.stride}});
  }
}

uint64_t PageMeans::state_bytes(const ModelShape& model, uint32_t tokens) {
  const uint64_t padded = round_up(uint64_t{model.head_dim}, uint64_t{kCodeGroup});
  const uint64_t tiles = div_up(uint64_t{tokens}, uint64_t{kPageSlots} * kPageSlots);
  // A tile is written anew when a page fills: at most three times within the rollback.
  return model.kv_heads * ((tiles + 3) * padded * kPageSlots * sizeof(float) + 4 * 2 * sizeof(uint32_t));
}

uint64_t PageMeans::scratch_bytes(const ModelShape& model, int threads) {
  const uint64_t padded = round_up(uint64_t{model.head_dim}, uint64_t{kCodeGroup});
  return Workspace::bytes_of<float>(padded * kPageSlots * static_cast<uint64_t>(threads));
}

}  // namespace loci
