// Recycled attention: a dense step now and then; the steps between read what it attended to most.
// Xu et al., Recycled Attention (v2: RefreshKV), arXiv:2411.05787, section 3.
//
// Every KV head has a list of `k` entries. A full step reads everything and makes the list anew from its own
// probabilities; the prompt's last row makes the first one. A step between joins its own entry to the list, reads the
// list, and drops the entry of lowest probability if they are more than k: never its own, nor the sequence's first.
// Steps are counted from the prompt's end. The list is positions by place; what steps since the full one did to it is
// one place each. Copies of its entries lie side by side, so a step between costs what its bytes cost.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "attention/primitives/pool.h"
#include "attention/primitives/scores.h"
#include "attention/primitives/top.h"
#include "attention/primitives/votes.h"
#include "attention/select/copies.h"
#include "attention/select/select.h"
#include "attention/select/similarity.h"
#include "attention/stages/observe.h"
#include "base/checked.h"

namespace loci {
namespace {

enum class Schedule : uint8_t { kFixed, kQuery };
enum class GroupPool : uint8_t { kMean, kMax };

struct RecycledOptions {
  int64_t stride = 50;
  int64_t k = 4096;
  Schedule schedule = Schedule::kFixed;
  int64_t check = 5;
  double similarity = 0.8;
  int64_t pool = 1;
  GroupPool group = GroupPool::kMean;
};

// Steps after which a list is written anew instead of what happened to it.
constexpr size_t kMostSwaps = 64;

// A head's list before a step, followed from step to step.
struct List {
  std::vector<uint32_t> positions;  // by place
  std::vector<uint32_t> swaps;      // where the steps since it was written put their entries
  uint32_t since = 0;               // the sequence's tokens when it was written
  uint32_t edited = 0;              // and the cache's edits
  bool valid = false;
};

class Recycled final : public Select {
 public:
  Recycled(const RecycledOptions& options, const ModelShape& model)
      : options_(options), k_(static_cast<uint32_t>(options.k)), model_(model) {}

  void after_prompt(const View& view, std::span<const bool> mine) const override {
    if (every_step()) return;
    view.state.store<uint32_t>("prompt", std::array{view.tokens()});
    for (size_t t = 0; t < mine.size(); ++t) {
      if (mine[t] && view.tables()[t].length() > k_) refresh(view, view.tables()[t]);
    }
    if (options_.schedule == Schedule::kQuery) remember_query(view);
  }

  void name_reads(const View& view, ReadBuilder& builder) const override {
    if (every_step()) return;
    LOCI_ASSERT(view.rows() == 1, "decode steps have one row");
    const bool full = full_step(view, builder);
    for (size_t t = 0; t < view.tables().size(); ++t) {
      const Table& table = view.tables()[t];
      if (!builder.mine(t) || table.length() <= k_) continue;
      if (full || !recycle(view, t, builder)) refresh(view, table);
    }
    if (full && options_.schedule == Schedule::kQuery) remember_query(view);
  }

  uint64_t state_bytes(LayerId, const StageBounds& bounds) const override {
    const uint32_t kept = std::min(k_, bounds.tokens);
    const uint64_t versions = SequenceState::kRollback + 2;
    // Lists are written at full steps, and when enough has happened to them.
    const auto period = static_cast<uint64_t>(options_.schedule == Schedule::kFixed ? options_.stride : options_.check);
    const uint64_t lists = SequenceState::kRollback / std::min<uint64_t>(period, kMostSwaps) + 3;
    const uint32_t page = page_layout(KvCodec::kKv16, model_.head_dim).bytes;  // the largest of all codecs
    const uint64_t a_head =
        4 * (uint64_t{kept} + 1) * (lists + 1) + 4 * kMostSwaps * (versions + 1) + Copies::bytes(page, kept + 1);
    return model_.kv_heads * a_head + 4 * (uint64_t{model_.q_width()} * lists + 3);
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots), heads = model_.query_heads;
    const uint32_t kept = std::min(k_, bounds.tokens);
    const uint64_t copied = round_up(uint64_t{kept} + 1, uint64_t{kPageSlots});
    const auto padded = static_cast<uint32_t>(round_up(model_.head_dim, kCodeGroup));
    const auto sharing = [&](uint64_t slots) {
      return Workspace::bytes_of<float>(heads * padded) +
             2 * Workspace::bytes_of<float>(heads * div_up(slots, uint64_t{kScoreBlock})) +
             Workspace::bytes_of<float>(heads) + scores_scratch_bytes(padded, model_.kv_heads, bounds.threads) +
             votes_scratch_bytes(model_.query_heads) + Workspace::bytes_of<float>(model_.kv_heads * slots);
    };
    const uint64_t refreshing = Workspace::bytes_of<float>(heads * width) +
                                Workspace::bytes_of<float>(model_.kv_heads * width) +
                                Workspace::bytes_of<uint32_t>(uint64_t{model_.kv_heads} * kept) +
                                Workspace::bytes_of<uint32_t>(model_.kv_heads) + sharing(width);
    const uint64_t selections =
        model_.kv_heads * (Workspace::bytes_of<const std::byte*>(1) + Workspace::bytes_of<uint32_t>(1) +
                           Workspace::bytes_of<const uint32_t*>(1)) +
        Workspace::bytes_of<float>(heads * copied);
    return selections + std::max(refreshing, sharing(copied));
  }

 private:
  bool every_step() const { return options_.schedule == Schedule::kFixed && options_.stride == 1; }

  static std::string name(const char* what, KvHead head) { return fmt::format("{} {}", what, head.value); }

  bool full_step(const View& view, const ReadBuilder& builder) const {
    const std::span<const uint32_t> begun = view.state.read<uint32_t>("prompt");
    const uint32_t prompt = begun.size() == 1 ? begun[0] : view.facts.prompt_tokens;
    const uint32_t step = view.tokens() - std::min(prompt, view.tokens());
    if (options_.schedule == Schedule::kFixed) return step % static_cast<uint32_t>(options_.stride) == 0;
    const std::span<const float> reference = view.state.read<float>("query");
    if (reference.size() != model_.q_width()) return true;
    if (step % static_cast<uint32_t>(options_.check) != 0) return false;
    // The mean over the query heads that ask.
    double sum = 0;
    uint32_t heads = 0;
    for (size_t t = 0; t < view.tables().size(); ++t) {
      if (!builder.mine(t)) continue;
      for (const KvHead head : view.tables()[t].heads()) {
        for (uint32_t g = 0; g < model_.group(); ++g, ++heads) {
          const size_t column = (size_t{head.value} * model_.group() + g) * model_.head_dim;
          Cosine cosine;
          cosine.add(view.queries.row(0) + column, reference.data() + column, model_.head_dim);
          sum += cosine.value();
        }
      }
    }
    return sum / heads < options_.similarity;
  }

  void remember_query(const View& view) const {
    view.state.store<float>("query", {view.queries.row(view.rows() - 1), model_.q_width()});
  }

  // The table's lists from the probabilities of the view's last row.
  void refresh(const View& view, const Table& table) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const auto heads = static_cast<uint32_t>(table.heads().size());
    const uint32_t length = table.length(), kept = std::min(k_, length);
    Rows seen = scratch.rows(size_t{heads} * model_.group(), observed_width(table));
    Rows shares = scratch.rows(heads, seen.width), smooth = scratch.rows(heads, seen.width);
    const std::vector<uint32_t> lengths(heads, length);
    std::vector<std::vector<const std::byte*>> pages(heads);
    for (uint32_t h = 0; h < heads; ++h) {
      pages[h].reserve(div_up(length, kPageSlots));
      for (uint32_t slot = 0; slot < length; slot += kPageSlots) {
        LOCI_ASSERT(table.stripe_present(slot / kPageSlots), "what is observed is there as a whole");
        pages[h].push_back(table.page_of(SlotId(slot), h));
      }
    }
    share_out(view, table, pages, lengths, seen, shares);
    if (options_.pool > 1)
      pool_window(view.ops, shares, static_cast<uint32_t>(options_.pool), Pooling::kMax, smooth, lengths);
    const Lists top{.elements = scratch.take<uint32_t>(size_t{heads} * kept).data(),
                    .counts = scratch.take<uint32_t>(heads).data(),
                    .rows = heads,
                    .capacity = kept};
    top_k(view.ops, options_.pool > 1 ? smooth : shares, kept, top, lengths);
    std::vector<uint32_t> positions(kept);
    for (uint32_t h = 0; h < heads; ++h) {
      const std::span<const uint32_t> slots = top.row(h);
      std::transform(slots.begin(), slots.end(), positions.begin(),
                     [&](uint32_t slot) { return table.position(SlotId(slot)).value; });
      write(view, table.heads()[h], positions, {});
    }
  }

  // Of the view's last row: its scaled scores against the keys in pages[h] of each head, known [heads * group, slots],
  // and what shares of attention they stand for, joined over the group: shares [heads, slots], without the mean's
  // division.
  void share_out(const View& view, const Table& table, std::span<const std::vector<const std::byte*>> pages,
                 std::span<const uint32_t> counts, const Rows& known, Rows shares) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const PageLayout& layout = table.layout();
    const uint32_t group = model_.group();
    const auto blocks = static_cast<uint32_t>(div_up(known.width, kScoreBlock));
    Rows queries = scratch.rows(known.rows, layout.padded_dim);
    const ExpSums sums{.largest = scratch.rows(known.rows, blocks), .sums = scratch.rows(known.rows, blocks)};
    std::fill_n(sums.largest.data, sums.largest.size(), -std::numeric_limits<float>::infinity());
    std::fill_n(sums.sums.data, sums.sums.size(), 0.0F);
    const auto of = [group](const Rows& all, size_t h, uint32_t width) {
      return Rows{all.data + h * group * all.stride, group, width, all.stride};
    };
    std::vector<ScoreJob> jobs;
    for (size_t h = 0; h < pages.size(); ++h) {
      float* q = const_cast<float*>(view.queries.row(view.rows() - 1)) +
                 size_t{table.heads()[h].value} * group * model_.head_dim;
      const Rows own = of(queries, h, queries.width);
      prepare_queries(layout, {q, group, model_.head_dim, model_.head_dim}, model_.score_scale, own);
      jobs.push_back({.keys = {.layout = &layout, .pages = pages[h], .tiles = nullptr, .count = counts[h]},
                      .queries = own,
                      .scores = of(known, h, known.width),
                      .exps = {.largest = of(sums.largest, h, blocks),
                               .sums = of(sums.sums, h, blocks),
                               .first = 0,
                               .last = counts[h]}});
    }
    scores(view.ops, jobs);
    const std::span<float> lse = scratch.take<float>(known.rows);
    for (uint32_t r = 0; r < known.rows; ++r) lse[r] = log_sum_exp(sums, r);
    std::fill_n(shares.data, shares.size(), 0.0F);
    std::vector<VoteJob> votes;
    for (size_t h = 0; h < pages.size(); ++h)
      votes.push_back({of(known, h, counts[h]), lse.subspan(h * group, group), {shares.row(h), counts[h]}});
    add_votes(view.ops, votes, options_.group == GroupPool::kMax ? Pooling::kMax : Pooling::kSum);
  }

  // A list as of the view's tokens less `swaps`.
  void write(const View& view, KvHead head, std::span<const uint32_t> positions,
             std::span<const uint32_t> swaps) const {
    const std::span<uint32_t> to = view.state.write<uint32_t>(name("list", head), positions.size() + 1);
    to[0] = view.tokens();
    std::copy(positions.begin(), positions.end(), to.begin() + 1);
    view.state.store<uint32_t>(name("swaps", head), swaps);
  }

  // What the state says about a head's list.
  struct Written {
    std::span<const uint32_t> list;  // tokens, then positions
    std::span<const uint32_t> swaps;
  };

  Written written(const View& view, KvHead head) const {
    return {view.state.read<uint32_t>(name("list", head)), view.state.read<uint32_t>(name("swaps", head))};
  }

  // Brings the head's list to where it is before this step; valid if every step since it was written is accounted for.
  void follow(const View& view, const Table& table, const Written& written, List& list) const {
    const bool known = !written.list.empty() && written.list.size() - 1 <= k_ && written.swaps.size() <= kMostSwaps &&
                       uint64_t{written.list[0]} + written.swaps.size() + 1 == view.tokens();
    const auto goes_on = [&] {
      return list.valid && list.since == written.list[0] && list.edited == view.cache.edited() &&
             list.swaps.size() <= written.swaps.size() &&
             std::equal(list.swaps.begin(), list.swaps.end(), written.swaps.begin());
    };
    if (known && !goes_on()) begin_list(view, table, written.list, list);
    list.valid = known;
    while (list.valid && list.swaps.size() < written.swaps.size()) {
      const auto done = static_cast<uint32_t>(list.swaps.size());
      list.valid = put(list.positions, written.swaps[done], list.since + done);
      list.swaps.push_back(written.swaps[done]);
    }
  }

  static void begin_list(const View& view, const Table& table, std::span<const uint32_t> written, List& list) {
    list.since = written[0];
    list.edited = view.cache.edited();
    list.swaps.clear();
    list.positions.clear();
    list.positions.reserve(written.size());  // the list and a step's own entry
    list.swaps.reserve(kMostSwaps);
    for (const uint32_t position : written.subspan(1)) {
      // The prompt's end may have taken some away.
      const uint32_t slot = position < list.since ? table.slots_before(TokenPos(position)) : table.length();
      if (slot < table.length() && table.position(SlotId(slot)).value == position) list.positions.push_back(position);
    }
  }

  // An entry comes to a place, or behind all of them.
  static bool put(std::vector<uint32_t>& positions, uint32_t place, uint32_t position) {
    if (place > positions.size()) return false;
    if (place == positions.size()) positions.push_back(position);
    positions[place] = position;
    return true;
  }

  // A head of the table during a step.
  struct Recycling {
    List* list;  // with the step's own entry, which comes last
    Copies* copies;
    Written written;
    uint32_t place = 0;  // where the step's own entry stays
  };

  // Reads the lists of the table's heads; false if one has none.
  bool recycle(const View& view, size_t t, ReadBuilder& builder) const {
    const Table& table = view.tables()[t];
    std::vector<Recycling> heads;
    for (const KvHead head : table.heads()) {
      heads.push_back({&view.state.derived<List>(name("list", head)), &view.state.derived<Copies>(name("copies", head)),
                       written(view, head)});
    }
    view.ops.pool.parallel_for(heads.size(), [&](size_t h, int) {
      List& list = *heads[h].list;
      follow(view, table, heads[h].written, list);
      if (!list.valid) return;
      list.positions.push_back(view.first_position);
      heads[h].copies->bring(table, h, list.positions, k_ + 1, view.ops.isa);
      heads[h].place = static_cast<uint32_t>(list.positions.size() - 1);
    });
    const bool all = std::all_of(heads.begin(), heads.end(), [](const Recycling& head) { return head.list->valid; });
    if (all) {
      std::vector<const std::byte*> pages;
      std::vector<std::span<const uint32_t>> positions;
      for (const Recycling& head : heads) {
        pages.push_back(head.copies->pages());
        positions.push_back(head.copies->positions());
      }
      Selection& out = builder.select_copies(view, t, pages, positions);
      out.copies.scores = view.ops.scratch.rows(heads.size() * model_.group(), width());
      find_places(view, table, heads, out.copies.scores);
    }
    for (size_t h = 0; h < heads.size(); ++h) {
      if (heads[h].list->valid) heads[h].list->positions.pop_back();
      if (all) note(view, table.heads()[h], heads[h]);
    }
    return all;
  }

  uint32_t width() const { return static_cast<uint32_t>(round_up(uint64_t{k_} + 1, uint64_t{kPageSlots})); }

  // What a step did to a head's list: its own entry came to a place.
  void note(const View& view, KvHead head, const Recycling& step) const {
    std::vector<uint32_t> swaps = step.list->swaps;
    swaps.push_back(step.place);
    if (swaps.size() < kMostSwaps) return view.state.store<uint32_t>(name("swaps", head), swaps);
    std::vector<uint32_t> positions = step.list->positions;
    put(positions, step.place, view.first_position);
    write(view, head, positions, {});
  }

  // Scores the heads' copies, as the read wants them, and finds where the steps' entries stay: behind the lists, or, if
  // those are full, in the place of what has the lowest probability.
  void find_places(const View& view, const Table& table, std::span<Recycling> heads, const Rows& known) const {
    const Workspace::Mark mark(view.ops.scratch);
    Rows shares = view.ops.scratch.rows(heads.size(), known.width);
    std::vector<std::vector<const std::byte*>> pages(heads.size());
    std::vector<uint32_t> counts;
    for (size_t h = 0; h < heads.size(); ++h) {
      counts.push_back(static_cast<uint32_t>(heads[h].list->positions.size()));
      for (uint32_t i = 0; i < counts[h]; i += kPageSlots)
        pages[h].push_back(heads[h].copies->pages() + size_t{i / kPageSlots} * table.layout().bytes);
    }
    share_out(view, table, pages, counts, known, shares);
    view.ops.pool.parallel_for(heads.size(), [&](size_t h, int) {
      if (heads[h].place >= k_) heads[h].place = lowest(shares.row(h), heads[h].list->positions);
    });
  }

  // Of all but the last, which is the step's own, and the sequence's first.
  static uint32_t lowest(const float* share, std::span<const uint32_t> positions) {
    auto least = static_cast<uint32_t>(positions.size() - 1);
    for (uint32_t i = 0; i + 1 < positions.size(); ++i) {
      if (positions[i] == 0) continue;
      const bool none = least + 1 == positions.size();
      if (none || share[i] < share[least] || (share[i] == share[least] && positions[i] < positions[least])) least = i;
    }
    return least;
  }

  RecycledOptions options_;
  uint32_t k_;
  const ModelShape model_;
};

Result<std::unique_ptr<Select>> make_recycled(const MethodCall& call, const MethodContext& context) {
  return std::unique_ptr<Select>(std::make_unique<Recycled>(call.as<RecycledOptions>(), context.model));
}

}  // namespace

const Method kRecycled = {
    .name = "recycled",
    .summary = "Every few steps one reads everything; the steps between read what it attended to most.",
    .stages = {Stage::kSelect},
    .phases = {Phase::kDecode},
    .parameters = {integer<&RecycledOptions::stride>("stride", {1, 1 << 20}, "steps",
                                                     "from one full step to the next, counted from the prompt's end"),
                   integer<&RecycledOptions::k>("k", {2, 1 << 24}, "entries", "that a head reads between full steps"),
                   choice<&RecycledOptions::schedule>("schedule", {"fixed", "query"},
                                                      "full steps by number, or when the query has changed"),
                   integer<&RecycledOptions::check>("check", {1, 1 << 20}, "steps",
                                                    "from one look at the query to the next (schedule=query)"),
                   number<&RecycledOptions::similarity>("similarity", {-1, 2}, "",
                                                        "of the query with the last full step's, below which a step "
                                                        "is full (schedule=query)"),
                   integer<&RecycledOptions::pool>("pool", {1, 255, 2}, "entries",
                                                   "over which a full step's probabilities are max-pooled; 1 is as "
                                                   "published, 31 keeps whole values"),
                   choice<&RecycledOptions::group>("group", {"mean", "max"},
                                                   "how the probabilities of a group's query heads are joined")},
    .lookback = {.count = 1},
    .citation = "Recycled Attention: Efficient inference for long-context language models, arXiv:2411.05787",
    .dense_when = "stride = 1 with a fixed schedule, or k >= length",
    .trial = "stride=7,k=40",
    .dense_trial = "stride=1",
    .changes_prompt = never,
    .make_select = make_recycled,
};

}  // namespace loci
