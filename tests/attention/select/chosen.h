// What a Select names, or has read, for rows of a layer that has been fed: asked for once more, copied out of the
// scratch it lies in.
#pragma once

#include <set>

#include "attention/one_layer.h"
#include "base/half.h"

namespace loci::test {

// Of the first table: the slots in the pages that tiles read, by [KV head][part][tile], and the listed ones, by
// [KV head][part][tiles that share a list].
struct Chosen {
  uint32_t tile = 0;  // 0: everything is read
  uint32_t parts = 1;
  uint32_t tiles = 0;
  std::vector<std::set<uint32_t>> pages;
  std::vector<std::set<uint32_t>> lists;

  size_t row(size_t head, uint32_t part, uint32_t tile_index) const {
    return (head * parts + part) * tiles + tile_index;
  }
};

inline Chosen chosen(OneLayer& layer, const Rows3& x, uint32_t first, uint32_t rows, int workers = 1) {
  const ModelShape& model = layer.model();
  Workspace scratch = std::move(*Workspace::allocate(uint64_t{1} << 28));
  ThreadPool pool(workers);
  OpContext ops{pool, best_isa(), scratch};
  std::vector<float> q(x.q.begin() + static_cast<ptrdiff_t>(size_t{first} * model.q_width()),
                       x.q.begin() + static_cast<ptrdiff_t>(size_t{first + rows} * model.q_width()));
  const RequestFacts facts;
  const LayerPass of{.ops = ops,
                     .cache = layer.cache(),
                     .state = layer.state(),
                     .facts = facts,
                     .layer = LayerId(0),
                     .phase = Phase::kPrefill,
                     .prompt_ends = false,
                     .first_position = first,
                     .queries = {q.data(), rows, model.q_width(), model.q_width()}};
  std::vector<Selection> selections;
  layer.stages().name_reads(of, selections);
  const Selection& selection = selections.at(0);
  Chosen out{.tile = selection.tile, .parts = selection.parts, .tiles = 0, .pages = {}, .lists = {}};
  if (selection.tile == 0) return out;
  out.tiles = selection.tiles(first, rows);
  const size_t heads = layer.cache().tables(LayerId(0))[0].heads().size();
  for (size_t row = 0; row < heads * selection.parts * out.tiles; ++row) {
    out.pages.emplace_back();
    for (uint32_t page = 0; selection.pages.words != nullptr && page < selection.pages.width; ++page) {
      const auto has = [&](const Masks& pages) {
        return pages.words != nullptr && (pages.row(row)[page / 64] >> page % 64 & 1) != 0;
      };
      if (!has(selection.pages) && !has(selection.prior.pages)) continue;
      for (uint32_t s = 0; s < kPageSlots; ++s) out.pages.back().insert(page * kPageSlots + s);
    }
  }
  for (uint32_t row = 0; row < selection.slots.rows; ++row) {
    const std::span<const uint32_t> list = selection.slots.row(row);
    out.lists.emplace_back(list.begin(), list.end());
  }
  return out;
}

// Numbers as kv16 stores them, so that plain loops meet what the layer reads.
inline void round_entries(Rows3& x) {
  for (std::vector<float>* entries : {&x.k, &x.v}) {
    for (float& e : *entries) e = to_float(to_half(e));
  }
}

}  // namespace loci::test
