// TokenSelect: a decode step reads the tokens that the query heads of a layer vote for, one list for all of them.
// Wu et al., TokenSelect: Efficient Long-Context Inference and Length Extrapolation for LLMs via Dynamic Token-Level KV
// Cache Selection, arXiv:2411.02886, section 3.
//
// A head's vote is the softmax of its scores q . k over the middle of the sequence, without 1/sqrt(d): it names a few
// tokens sharply, and a loud head counts no more than any other. The `k` tokens of most votes are read, with the first
// `sinks` and the last `local`. While the query is like the one that chose (Selection Cache), the list is used again;
// what is read behind it begins where it ends, so no token falls between, and grows to 1.5 `local` before the list is
// made anew. Positions stay true, or what is read is renumbered as in the paper, so that a query never sees a distance
// beyond sinks + k + 1.5 local: `positions=renumber`.
//
// estimate=pooled scores the mean key of each page of 64 instead, and reads the pages of most votes as a whole: heads
// that keep the same entries choose together.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "attention/primitives/pool.h"
#include "attention/primitives/scores.h"
#include "attention/primitives/softmax.h"
#include "attention/primitives/top.h"
#include "attention/primitives/votes.h"
#include "attention/select/page_means.h"
#include "attention/select/renumbered.h"
#include "attention/select/select.h"
#include "attention/select/similarity.h"
#include "base/checked.h"

namespace loci {
namespace {

enum class Estimate : uint8_t { kExact, kPooled };
enum class Positions : uint8_t { kTrue, kRenumber };

struct TokenSelectOptions {
  int64_t k = 2048;
  int64_t sinks = 128;
  int64_t local = 512;
  double theta = 0.9;
  Estimate estimate = Estimate::kExact;
  Positions positions = Positions::kTrue;
};

// The part of a table that is chosen from.
struct Middle {
  uint32_t first;  // slots
  uint32_t last;
};

class TokenSelect final : public Select {
 public:
  TokenSelect(const TokenSelectOptions& options, const ModelShape& model, uint32_t context)
      : k_(static_cast<uint32_t>(options.k)),
        sinks_(static_cast<uint32_t>(options.sinks)),
        local_(static_cast<uint32_t>(options.local)),
        theta_(options.theta),
        pooled_(options.estimate == Estimate::kPooled),
        model_(model) {
    if (options.positions == Positions::kRenumber) renumbered_.emplace(model, context);
  }

  void name_reads(const View& view, ReadBuilder& builder) const override {
    LOCI_ASSERT(view.rows() == 1, "decode steps have one row");
    if (read_always() >= view.tokens()) return;
    const bool fresh = !reusable(view, builder);
    if (fresh) {
      view.state.store<float>("query", {view.queries.row(0), model_.q_width()});
      view.state.store<uint32_t>("chosen", std::array{view.tokens(), view.cache.edited()});
    }
    // Behind the list, everything is read.
    const uint32_t edge = view.state.read<uint32_t>("chosen")[0] - local_;
    if (pooled_) {
      read_pages(view, edge, fresh, builder);
    } else if (renumbered_) {
      read_renumbered(view, edge, fresh, builder);
    } else {
      read_tokens(view, edge, fresh, builder);
    }
  }

  uint64_t state_bytes(LayerId, const StageBounds& bounds) const override {
    const uint64_t versions = SequenceState::kRollback + 2;
    const uint64_t lists = 4 * uint64_t{std::min(k_, bounds.tokens)};
    const uint64_t pages = model_.kv_heads * 4 * uint64_t{pages_wanted(bounds.tokens)};
    return versions * (4 * model_.q_width() + 8 + (pooled_ ? pages : lists)) +
           (pooled_ ? PageMeans::state_bytes(model_, bounds.tokens) : 0);
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots), pages = div_up(bounds.tokens, kPageSlots);
    const uint64_t page_width = round_up(pages, uint64_t{kPageSlots});
    const uint32_t list = std::min(k_, bounds.tokens);
    const uint64_t masks =
        model_.kv_heads * Workspace::bytes_of<uint64_t>(Masks::words_of(static_cast<uint32_t>(pages)));
    const auto padded = static_cast<uint32_t>(round_up(model_.head_dim, kCodeGroup));
    const uint64_t placing =
        renumbered_ ? Workspace::bytes_of<float>(model_.query_heads * width) + renumbered_->scratch_bytes(bounds) : 0;
    if (!pooled_) {
      const uint64_t selections =
          model_.kv_heads * (Workspace::bytes_of<uint32_t>(capacity(bounds.tokens)) + Workspace::bytes_of<uint32_t>(1));
      const uint64_t sums = Workspace::bytes_of<float>(model_.query_heads * div_up(width, uint64_t{kScoreBlock}));
      return masks + selections + Workspace::bytes_of<float>(model_.query_heads * width) +
             Workspace::bytes_of<float>(uint64_t{model_.query_heads} * padded) + 2 * sums +
             Workspace::bytes_of<float>(model_.query_heads) + 2 * Workspace::bytes_of<float>(width) +
             votes_scratch_bytes(model_.query_heads) + Workspace::bytes_of<uint32_t>(list) +
             Workspace::bytes_of<uint32_t>(1) + scores_scratch_bytes(padded, model_.kv_heads, bounds.threads) + placing;
    }
    const uint64_t jobs = model_.kv_heads * (page_width / kPageSlots);
    return placing + masks + Workspace::bytes_of<float>(uint64_t{model_.query_heads} * padded) +
           Workspace::bytes_of<float>(model_.query_heads * page_width) + Workspace::bytes_of<float>(page_width) +
           Workspace::bytes_of<uint32_t>(pages_wanted(bounds.tokens)) + Workspace::bytes_of<uint32_t>(1) +
           std::max<uint64_t>(PageMeans::scratch_bytes(model_, bounds.threads),
                              scores_scratch_bytes(padded, jobs, bounds.threads));
  }

 private:
  uint64_t read_always() const { return uint64_t{sinks_} + k_ + local_; }
  uint32_t pages_wanted(uint32_t tokens) const {
    return static_cast<uint32_t>(div_up(uint64_t{std::min(k_, tokens)}, uint64_t{kPageSlots}));
  }
  // Of a table's list: what is chosen, and the rests of the pages in which the middle begins and ends.
  uint32_t capacity(uint32_t tokens) const { return std::min(k_, tokens) + 2 * (kPageSlots - 1); }

  Middle middle(const Table& table, uint32_t edge) const {
    const uint32_t first = table.slots_before(TokenPos(sinks_));
    return {first, std::max(first, table.slots_before(TokenPos(edge)))};
  }

  // Whether the list of an earlier step serves this one.
  bool reusable(const View& view, const ReadBuilder& builder) const {
    const std::span<const uint32_t> chosen = view.state.read<uint32_t>("chosen");
    const std::span<const float> query = view.state.read<float>("query");
    if (theta_ >= 1 || chosen.size() != 2 || query.size() != model_.q_width()) return false;
    if (chosen[0] > view.tokens() || chosen[0] <= read_always() || chosen[1] != view.cache.edited()) return false;
    if (view.tokens() - chosen[0] > local_ / 2) return false;
    Cosine cosine;
    for (size_t t = 0; t < view.tables().size(); ++t) {
      if (!builder.mine(t)) continue;
      for (const KvHead head : view.tables()[t].heads()) {
        const size_t width = size_t{model_.group()} * model_.head_dim, column = head.value * width;
        cosine.add(view.queries.row(0) + column, query.data() + column, width);
      }
    }
    return cosine.value() >= theta_;
  }

  // The tables that choose from a list.
  template <typename Body>
  void for_chosen(const View& view, const ReadBuilder& builder, const Body& body) const {
    for (size_t t = 0; t < view.tables().size(); ++t) {
      if (builder.mine(t) && view.tables()[t].length() > read_always()) body(t, view.tables()[t]);
    }
  }

  void read_pages(const View& view, uint32_t edge, bool fresh, ReadBuilder& builder) const {
    for (size_t t = 0; t < view.tables().size() && fresh; ++t) {
      const Table& table = view.tables()[t];
      if (builder.mine(t)) choose_pages(view, table, middle(table, edge));
    }
    const Rows known = renumbered_ ? scores_of_all(view) : Rows{};
    for_chosen(view, builder, [&](size_t t, const Table& table) {
      Selection& out = name_pages(view, t, middle(table, edge), builder);
      if (renumbered_) place(view, builder, t, known, out);
    });
  }

  // [query_heads, slots]: those of tables behind one another.
  Rows scores_of_all(const View& view) const {
    return view.ops.scratch.rows(model_.query_heads, static_cast<uint32_t>(round_up(view.tokens(), kPageSlots)));
  }

  // The scores of what `out` reads of table t, at new places.
  void place(const View& view, const ReadBuilder& builder, size_t t, const Rows& known, Selection& out) const {
    const Rows own = of_table(view, builder, t, known);
    renumbered_->score_places(view, view.tables()[t], out, own);
    out.scores = own;
  }

  // Chooses by what keys hold, wherever they stand, and reads what it chose side by side.
  void read_renumbered(const View& view, uint32_t edge, bool fresh, ReadBuilder& builder) const {
    const Rows known = scores_of_all(view);
    if (fresh) choose_by_content(view, builder, edge, known);
    for_chosen(view, builder, [&](size_t t, const Table& table) {
      place(view, builder, t, known, name_tokens(view, t, middle(table, edge), builder));
    });
  }

  // The list "tokens" by scores between the query at position `local` and every key at 0; overwrites known.
  void choose_by_content(const View& view, const ReadBuilder& builder, uint32_t edge, const Rows& known) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    Rows votes = scratch.rows(1, known.width), by_slot = scratch.rows(1, known.width);
    std::fill_n(votes.data, known.width, 0.0F);
    for (size_t t = 0; t < view.tables().size(); ++t) {
      const Table& table = view.tables()[t];
      const Middle from = middle(table, edge);
      if (!builder.mine(t) || from.last == from.first) continue;
      const Rows own = of_table(view, builder, t, known);
      renumbered_->score_content(view, table, local_, from.first, from.last, own);
      const Rows of{own.data + from.first, own.rows, from.last - from.first, own.stride};
      softmax(view.ops, of);
      pool_rows(view.ops, of, of.rows, Pooling::kSum, {by_slot.data, 1, of.width, by_slot.stride});
      add_by_position(table, from, by_slot, votes);
    }
    take_most(view, edge, votes);
  }

  static void add_by_position(const Table& table, Middle from, const Rows& by_slot, Rows votes) {
    for (uint32_t slot = from.first; slot < from.last; ++slot)
      votes.data[table.position(SlotId(slot)).value] += by_slot.data[slot - from.first];
  }

  // Every key that is read is scored here, whatever for: the read then goes over values alone.
  void read_tokens(const View& view, uint32_t edge, bool fresh, ReadBuilder& builder) const {
    Workspace& scratch = view.ops.scratch;
    const Rows known = scores_of_all(view);
    if (fresh) {
      choose_tokens(view, builder, edge, known);
    } else {
      const Workspace::Mark mark(scratch);
      score(view, builder, edge, known, {});
    }
    for_chosen(view, builder, [&](size_t t, const Table& table) {
      name_tokens(view, t, middle(table, edge), builder).scores = of_table(view, builder, t, known);
    });
  }

  // Scores of all keys, or, without sums, of the pages that a list reads; sums [query_heads, blocks] are over each
  // table's middle. known [query_heads, slots]: tables behind one another.
  void score(const View& view, const ReadBuilder& builder, uint32_t edge, const Rows& known,
             const ExpSums& sums) const {
    const uint32_t group = model_.group();
    const auto padded = static_cast<uint32_t>(round_up(model_.head_dim, kCodeGroup));
    Rows queries = view.ops.scratch.rows(model_.query_heads, padded);
    std::vector<ScoreJob> jobs;
    std::vector<std::vector<const std::byte*>> pages(model_.kv_heads);
    uint32_t row = 0;
    for (size_t t = 0; t < view.tables().size(); ++t) {
      const Table& table = view.tables()[t];
      if (!builder.mine(t)) continue;
      if (sums.sums.data == nullptr && table.length() <= read_always()) {  // read as a dense step does
        row += group * static_cast<uint32_t>(table.heads().size());
        continue;
      }
      const Middle from = middle(table, edge);
      const std::vector<bool> wanted =
          sums.sums.data == nullptr ? pages_of_list(view, table, from) : std::vector<bool>();
      for (size_t h = 0; h < table.heads().size(); ++h, row += group) {
        const Rows own = rows_of(queries, row, group);
        float* q = const_cast<float*>(view.queries.row(0)) + size_t{table.heads()[h].value} * group * model_.head_dim;
        prepare_queries(table.layout(), {q, group, model_.head_dim, model_.head_dim}, 1.0F, own);
        std::vector<const std::byte*>& keys = pages[row / group];
        keys.reserve(div_up(table.length(), kPageSlots));
        for (uint32_t page = 0; page * kPageSlots < table.length(); ++page) {
          const bool skip = !wanted.empty() && !wanted[page];
          LOCI_ASSERT(skip || table.stripe_present(page), "what is scored is there as a whole");
          keys.push_back(skip ? nullptr : table.page_of(SlotId(page * kPageSlots), h));
        }
        jobs.push_back({.keys = {.layout = &table.layout(), .pages = keys, .tiles = nullptr, .count = table.length()},
                        .queries = own,
                        .scores = rows_of(known, row, group),
                        .exps = {.largest = rows_of(sums.largest, row, group),
                                 .sums = rows_of(sums.sums, row, group),
                                 .first = from.first,
                                 .last = from.last}});
      }
    }
    scores(view.ops, jobs);
  }

  static Rows rows_of(const Rows& all, uint32_t first, uint32_t count) {
    return all.data == nullptr ? Rows{} : Rows{all.data + size_t{first} * all.stride, count, all.width, all.stride};
  }

  // Those of known that belong to table t.
  Rows of_table(const View& view, const ReadBuilder& builder, size_t t, const Rows& known) const {
    size_t before = 0;
    for (size_t i = 0; i < t; ++i) before += builder.mine(i) ? view.tables()[i].heads().size() : 0;
    return rows_of(known, static_cast<uint32_t>(before) * model_.group(),
                   static_cast<uint32_t>(view.tables()[t].heads().size()) * model_.group());
  }

  std::vector<bool> pages_of_list(const View& view, const Table& table, Middle from) const {
    std::vector<bool> out(div_up(table.length(), kPageSlots), false);
    for (uint32_t page = 0; page < out.size(); ++page) {
      out[page] = page * kPageSlots < from.first || (page + 1) * kPageSlots > from.last;
    }
    for (const uint32_t position : view.state.read<uint32_t>("tokens")) {
      const uint32_t slot = table.slots_before(TokenPos(position));
      if (slot < table.length()) out[slot / kPageSlots] = true;
    }
    return out;
  }

  // The list "tokens": the positions of most votes, over all heads that ask.
  void choose_tokens(const View& view, const ReadBuilder& builder, uint32_t edge, const Rows& known) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const auto blocks = static_cast<uint32_t>(div_up(known.width, kScoreBlock));
    const ExpSums sums{.largest = scratch.rows(model_.query_heads, blocks),
                       .sums = scratch.rows(model_.query_heads, blocks)};
    std::fill_n(sums.largest.data, sums.largest.size(), -std::numeric_limits<float>::infinity());
    std::fill_n(sums.sums.data, sums.sums.size(), 0.0F);
    Rows votes = scratch.rows(1, known.width), by_slot = scratch.rows(1, known.width);
    const std::span<float> lse = scratch.take<float>(model_.query_heads);
    score(view, builder, edge, known, sums);
    for (uint32_t row = 0; row < model_.query_heads; ++row) lse[row] = log_sum_exp(sums, row);
    std::fill_n(votes.data, known.width, 0.0F);
    for (size_t t = 0; t < view.tables().size(); ++t) {
      const Table& table = view.tables()[t];
      const Middle from = middle(table, edge);
      if (!builder.mine(t) || from.last == from.first) continue;
      Rows of = of_table(view, builder, t, known);
      const std::span<const float> own = lse.subspan((of.data - known.data) / known.stride, of.rows);
      of = {of.data + from.first, of.rows, from.last - from.first, of.stride};
      // Votes are for positions.
      if (table.affine()) {
        const VoteJob job{of, own, {votes.data + from.first, of.width}};
        add_votes(view.ops, {&job, 1}, Pooling::kSum);
        continue;
      }
      std::fill_n(by_slot.data, of.width, 0.0F);
      const VoteJob job{of, own, {by_slot.data, of.width}};
      add_votes(view.ops, {&job, 1}, Pooling::kSum);
      add_by_position(table, from, by_slot, votes);
    }
    take_most(view, edge, votes);
  }

  // The list "tokens" from the votes of all positions.
  void take_most(const View& view, uint32_t edge, const Rows& votes) const {
    Workspace& scratch = view.ops.scratch;
    const uint32_t candidates = edge - sinks_, wanted = std::min(k_, candidates);
    Lists top{.elements = scratch.take<uint32_t>(wanted).data(),
              .counts = scratch.take<uint32_t>(1).data(),
              .rows = 1,
              .capacity = wanted};
    top_k(view.ops, {votes.data + sinks_, 1, candidates, votes.stride}, wanted, top);
    const std::span<uint32_t> to = view.state.write<uint32_t>("tokens", wanted);
    for (uint32_t i = 0; i < wanted; ++i) to[i] = top.elements[i] + sinks_;
  }

  // The first slot of whole pages behind the middle.
  static uint32_t first_whole(const Table& table, Middle from) {
    return std::min(table.length(), static_cast<uint32_t>(round_up(from.last, kPageSlots)));
  }

  // Whole pages of sinks and behind the middle, and the list's tokens, with the rests of pages at the middle's ends.
  Selection& name_tokens(const View& view, size_t t, Middle from, ReadBuilder& builder) const {
    const Table& table = view.tables()[t];
    const uint32_t length = table.length(), whole = first_whole(table, from);
    Selection& out = builder.select_pages(view, t, 1);
    builder.add_slots(view, t, capacity(length));
    const std::span<uint32_t> slots = out.slots.room(0);
    uint32_t count = 0;
    for (uint32_t slot = from.first / kPageSlots * kPageSlots; slot < from.first; ++slot) slots[count++] = slot;
    const uint64_t most = count + uint64_t{k_};
    for (const uint32_t position : view.state.read<uint32_t>("tokens")) {
      const uint32_t slot = table.slots_before(TokenPos(position));
      if (slot < from.first || slot >= from.last || count == most) continue;
      // A saved list comes from a file: an entry is named once, in ascending order.
      if (count > 0 && slots[count - 1] >= slot) continue;
      if (table.position(SlotId(slot)).value == position) slots[count++] = slot;
    }
    for (uint32_t slot = from.last; slot < whole; ++slot) slots[count++] = slot;
    for (size_t h = 0; h < table.heads().size(); ++h) {
      mark(out.pages.row(h), 0, from.first / kPageSlots);
      mark(out.pages.row(h), static_cast<uint32_t>(div_up(whole, kPageSlots)),
           static_cast<uint32_t>(div_up(length, kPageSlots)));
      if (h > 0) std::copy_n(slots.begin(), count, out.slots.room(h).begin());
      out.slots.counts[h] = count;
    }
    return out;
  }

  static std::string pages_name(const Table& table) { return fmt::format("pages {}", table.heads()[0].value); }

  // The list "pages H" of the table with first head H: the first positions of the pages of most votes.
  void choose_pages(const View& view, const Table& table, Middle from) const {
    PageMeans::update(view, table);
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t first = static_cast<uint32_t>(div_up(from.first, kPageSlots)), last = from.last / kPageSlots;
    const uint32_t candidates = last - std::min(first, last), wanted = std::min(candidates, pages_wanted(k_));
    if (wanted == 0) return view.state.store<uint32_t>(pages_name(table), {});
    const PageLayout& layout = table.layout();
    const uint32_t group = model_.group();
    const auto heads = static_cast<uint32_t>(table.heads().size());
    const auto width = static_cast<uint32_t>(round_up(last, kPageSlots));
    Rows queries = scratch.rows(size_t{heads} * group, layout.padded_dim);
    Rows seen = scratch.rows(size_t{heads} * group, width), votes = scratch.rows(1, width);
    std::vector<ScoreJob> jobs;
    for (uint32_t h = 0; h < heads; ++h) {
      const KvHead head = table.heads()[h];
      float* q = const_cast<float*>(view.queries.row(0)) + size_t{head.value} * group * model_.head_dim;
      const Rows own{queries.row(size_t{h} * group), group, queries.width, queries.stride};
      prepare_queries(layout, {q, group, model_.head_dim, model_.head_dim}, 1.0F, own);
      PageMeans::add_jobs(view, table, head, last, own, {seen.row(size_t{h} * group), group, width, width}, jobs);
    }
    scores(view.ops, jobs);
    const std::vector<uint32_t> lengths(seen.rows, candidates);
    const Rows chosen_from{seen.data + first, seen.rows, candidates, seen.stride};
    softmax(view.ops, chosen_from, lengths);
    const Rows sums{votes.data, 1, candidates, width};
    pool_rows(view.ops, chosen_from, seen.rows, Pooling::kSum, sums, std::span(lengths).first(1));
    Lists top{.elements = scratch.take<uint32_t>(wanted).data(),
              .counts = scratch.take<uint32_t>(1).data(),
              .rows = 1,
              .capacity = wanted};
    top_k(view.ops, sums, wanted, top);
    const std::span<uint32_t> to = view.state.write<uint32_t>(pages_name(table), wanted);
    for (uint32_t i = 0; i < wanted; ++i) to[i] = table.position(SlotId((first + top.elements[i]) * kPageSlots)).value;
  }

  Selection& name_pages(const View& view, size_t t, Middle from, ReadBuilder& builder) const {
    const Table& table = view.tables()[t];
    const uint32_t pages = static_cast<uint32_t>(div_up(table.length(), kPageSlots));
    Selection& out = builder.select_pages(view, t, 1);
    for (size_t h = 0; h < table.heads().size(); ++h) {
      const std::span<uint64_t> row = out.pages.row(h);
      mark(row, 0, static_cast<uint32_t>(div_up(from.first, kPageSlots)));
      for (const uint32_t position : view.state.read<uint32_t>(pages_name(table))) {
        const uint32_t page = table.slots_before(TokenPos(position)) / kPageSlots;
        if (page < pages) mark(row, page, page + 1);
      }
      mark(row, from.last / kPageSlots, pages);
    }
    return out;
  }

  static void mark(std::span<uint64_t> row, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) row[i / 64] |= uint64_t{1} << i % 64;
  }

  uint32_t k_;
  uint32_t sinks_;
  uint32_t local_;
  double theta_;
  bool pooled_;
  const ModelShape model_;
  std::optional<Renumbered> renumbered_;  // positions=renumber
};

Result<std::unique_ptr<Select>> make_token_select(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<TokenSelectOptions>();
  if (options.positions == Positions::kRenumber && context.model.rotary.inverse_frequencies.empty()) {
    return fail(
        ErrorCode::kUnsupported,
        "tokenselect(positions=renumber) turns keys to other positions, but this model has no rotary embedding; "
        "leave positions=true");
  }
  return std::unique_ptr<Select>(std::make_unique<TokenSelect>(options, context.model, context.context));
}

}  // namespace

const Method kTokenSelect = {
    .name = "tokenselect",
    .summary = "A step reads the tokens for which the layer's query heads vote.",
    .stages = {Stage::kSelect},
    .phases = {Phase::kDecode},
    .parameters = {integer<&TokenSelectOptions::k>("k", {1, 1 << 24}, "tokens", "that are chosen in a layer"),
                   integer<&TokenSelectOptions::sinks>("sinks", {0, 1 << 20}, "tokens",
                                                       "at the beginning that are always read"),
                   integer<&TokenSelectOptions::local>("local", {1, 1 << 20}, "tokens",
                                                       "at the end that are always read, the step's own included"),
                   number<&TokenSelectOptions::theta>("theta", {-1, 2}, "",
                                                      "cosine of two steps' queries from which a list serves again; "
                                                      "from 1 on every step chooses"),
                   choice<&TokenSelectOptions::estimate>("estimate", {"exact", "pooled"},
                                                         "scores of every key, or of the mean key of each page, of "
                                                         "which whole pages are then read"),
                   choice<&TokenSelectOptions::positions>("positions", {"true", "renumber"},
                                                          "of what is read: its own, or side by side, as published")},
    .granularity = Granularity::kLayer,
    .citation =
        "TokenSelect: Efficient Long-Context Inference and Length Extrapolation for LLMs via Dynamic "
        "Token-Level KV Cache Selection, arXiv:2411.02886",
    .dense_when = "sinks + k + local >= length",
    .trial = "k=32,sinks=4,local=24",
    .dense_trial = "k=1048576",
    .changes_prompt = never,
    .make_select = make_token_select,
};

}  // namespace loci
