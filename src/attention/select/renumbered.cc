#include "attention/select/renumbered.h"

#include <algorithm>

#include "base/checked.h"
#include "ops/rope.h"

namespace loci {
namespace {

size_t pages_of(const Table& table) { return div_up(size_t{table.length()}, size_t{kPageSlots}); }

}  // namespace

uint64_t Renumbered::scratch_bytes(const StageBounds& bounds) const {
  const auto padded = static_cast<uint32_t>(round_up(model_.head_dim, kCodeGroup));
  return Workspace::bytes_of<int32_t>(round_up(bounds.tokens, kPageSlots)) +
         Workspace::bytes_of<float>(uint64_t{model_.query_heads} * padded) +
         Workspace::bytes_of<float>(model_.head_dim) + moved_scores_scratch_bytes(padded, bounds.threads);
}

void Renumbered::score_content(const View& view, const Table& table, uint32_t query_at, uint32_t first, uint32_t last,
                               Rows scores) const {
  const Workspace::Mark mark(view.ops.scratch);
  const size_t pages = pages_of(table);
  const std::span<int32_t> moves = view.ops.scratch.take<int32_t>(pages * kPageSlots);
  std::vector<bool> wanted(pages, false);
  std::fill(moves.begin(), moves.end(), 0);
  for (uint32_t slot = first; slot < last; ++slot) {
    moves[slot] = -static_cast<int32_t>(table.position(SlotId(slot)).value);
    wanted[slot / kPageSlots] = true;
  }
  score(view, table, moves, wanted, int64_t{query_at} - view.first_position, scores);
}

void Renumbered::score_places(const View& view, const Table& table, const Selection& selection, Rows scores) const {
  const Workspace::Mark mark(view.ops.scratch);
  const size_t pages = pages_of(table);
  const std::span<int32_t> moves = view.ops.scratch.take<int32_t>(pages * kPageSlots);
  std::vector<bool> wanted(pages, false);
  const bool lists = selection.slots.elements != nullptr;
  const std::span<const uint32_t> listed = lists ? selection.slots.row(0) : std::span<const uint32_t>();
  const std::span<const uint64_t> whole = selection.pages.row(0);
  int32_t place = 0;
  size_t next = 0;
  for (uint32_t slot = 0; slot < moves.size(); ++slot) {
    const uint32_t page = slot / kPageSlots;
    const bool in_list = next < listed.size() && listed[next] == slot;
    next += in_list ? 1 : 0;
    moves[slot] = 0;
    if (slot >= table.length() || !(in_list || (whole[page / 64] >> page % 64 & 1) != 0)) continue;
    moves[slot] = place++ - static_cast<int32_t>(table.position(SlotId(slot)).value);
    wanted[page] = true;
  }
  score(view, table, moves, wanted, int64_t{place} - 1 - view.first_position, scores);
}

void Renumbered::score(const View& view, const Table& table, std::span<const int32_t> moves,
                       const std::vector<bool>& wanted, int64_t query_move, Rows scores) const {
  const uint32_t group = model_.group(), dim = model_.head_dim;
  const auto heads = static_cast<uint32_t>(table.heads().size());
  Rows queries = view.ops.scratch.rows(heads * group, table.layout().padded_dim);
  std::vector<std::vector<const std::byte*>> pages(heads);
  for (uint32_t h = 0; h < heads; ++h) {
    for (uint32_t g = 0; g < group; ++g) {
      float* to = queries.row(size_t{h} * group + g);
      std::copy_n(view.queries.row(0) + (size_t{table.heads()[h].value} * group + g) * dim, dim, to);
      std::fill(to + dim, to + queries.width, 0.0F);
    }
    for (uint32_t page = 0; page < wanted.size(); ++page) {
      LOCI_ASSERT(!wanted[page] || table.stripe_present(page), "what is scored is there as a whole");
      pages[h].push_back(wanted[page] ? table.page_of(SlotId(page * kPageSlots), h) : nullptr);
    }
  }
  const auto move = static_cast<int32_t>(query_move);
  const Rows turn = view.ops.scratch.rows(1, static_cast<uint32_t>(2 * angles_.half()));
  rope_angles(view.ops, {&move, 1}, model_.rotary.inverse_frequencies, 1.0, turn);
  const uint32_t width = queries.rows * queries.width;
  rotate(view.ops, {queries.data, 1, width, width}, queries.rows, queries.width, model_.rotary.pairing, turn);
  moved_scores(view.ops, angles_, model_.rotary.pairing, {&table.layout(), pages, moves}, queries, scores);
}

}  // namespace loci
