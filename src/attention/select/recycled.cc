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

#include "attention/primitives/pool.h"
#include "attention/primitives/scores.h"
#include "attention/primitives/softmax.h"
#include "attention/primitives/top.h"
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

// A head's list before a step.
struct List {
  std::vector<uint32_t> positions;  // by place
  std::vector<uint32_t> swaps;      // where the steps since it was written put their entries
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
        4 * (uint64_t{kept} + 1) * lists + 4 * kMostSwaps * versions + Copies::bytes(page, kept + 1);
    return model_.kv_heads * a_head + 4 * (uint64_t{model_.q_width()} * lists + 3);
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots);
    const uint32_t kept = std::min(k_, bounds.tokens);
    const uint64_t copied = round_up(uint64_t{kept} + 1, uint64_t{kPageSlots});
    const auto padded = static_cast<uint32_t>(round_up(model_.head_dim, kCodeGroup));
    const uint64_t refreshing = Workspace::bytes_of<float>(model_.group() * width) +
                                2 * Workspace::bytes_of<float>(width) + Workspace::bytes_of<uint32_t>(kept) +
                                Workspace::bytes_of<uint32_t>(1) + observe_scratch_bytes(model_, 1, bounds.threads);
    const uint64_t dropping = Workspace::bytes_of<float>(model_.query_heads * uint64_t{padded}) +
                              Workspace::bytes_of<float>(model_.query_heads * copied) +
                              Workspace::bytes_of<float>(model_.kv_heads * copied) +
                              scores_scratch_bytes(padded, model_.kv_heads, bounds.threads);
    const uint64_t selections =
        model_.kv_heads * (Workspace::bytes_of<const std::byte*>(1) + Workspace::bytes_of<uint32_t>(1));
    return selections + std::max(refreshing, dropping);
  }

 private:
  bool every_step() const { return options_.schedule == Schedule::kFixed && options_.stride == 1; }
  Pooling group_pooling() const { return options_.group == GroupPool::kMax ? Pooling::kMax : Pooling::kMean; }

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
    Rows seen = scratch.rows(model_.group(), observed_width(table));
    Rows row = scratch.rows(1, seen.width), smooth = scratch.rows(1, seen.width);
    const uint32_t length = table.length(), kept = std::min(k_, length);
    Lists top{.elements = scratch.take<uint32_t>(kept).data(),
              .counts = scratch.take<uint32_t>(1).data(),
              .rows = 1,
              .capacity = kept};
    for (size_t h = 0; h < table.heads().size(); ++h) {
      observe(view, table, h, view.rows() - 1, 1, seen);
      pool_rows(view.ops, seen, model_.group(), group_pooling(), row, {&length, 1});
      if (options_.pool > 1) {
        pool_window(view.ops, row, static_cast<uint32_t>(options_.pool), Pooling::kMax, smooth, {&length, 1});
      }
      top_k(view.ops, options_.pool > 1 ? smooth : row, kept, top, {&length, 1});
      std::vector<uint32_t> positions;
      for (const uint32_t slot : top.row(0)) positions.push_back(table.position(SlotId(slot)).value);
      write(view, table.heads()[h], positions, {});
    }
  }

  // A list as of the view's tokens less `swaps`.
  void write(const View& view, KvHead head, std::span<const uint32_t> positions,
             std::span<const uint32_t> swaps) const {
    const std::span<uint32_t> to = view.state.write<uint32_t>(name("list", head), positions.size() + 1);
    to[0] = view.tokens();
    std::copy(positions.begin(), positions.end(), to.begin() + 1);
    view.state.store<uint32_t>(name("swaps", head), swaps);
  }

  // The head's list before this step, if every step since it was written is accounted for.
  List read(const View& view, const Table& table, KvHead head) const {
    List out;
    const std::span<const uint32_t> written = view.state.read<uint32_t>(name("list", head));
    const std::span<const uint32_t> swaps = view.state.read<uint32_t>(name("swaps", head));
    if (written.empty() || written.size() - 1 > k_ || swaps.size() > kMostSwaps) return out;
    const uint32_t since = written[0];
    if (uint64_t{since} + swaps.size() + 1 != view.tokens()) return out;
    for (const uint32_t position : written.subspan(1)) {
      // The prompt's end may have taken some away.
      const uint32_t slot = position < since ? table.slots_before(TokenPos(position)) : table.length();
      if (slot < table.length() && table.position(SlotId(slot)).value == position) out.positions.push_back(position);
    }
    for (size_t i = 0; i < swaps.size(); ++i) {
      if (!put(out.positions, swaps[i], since + static_cast<uint32_t>(i))) return out;
    }
    out.swaps.assign(swaps.begin(), swaps.end());
    out.valid = true;
    return out;
  }

  // An entry comes to a place, or behind all of them.
  static bool put(std::vector<uint32_t>& positions, uint32_t place, uint32_t position) {
    if (place > positions.size()) return false;
    if (place == positions.size()) positions.push_back(position);
    positions[place] = position;
    return true;
  }

  // Reads the lists of the table's heads; false if one has none.
  bool recycle(const View& view, size_t t, ReadBuilder& builder) const {
    const Table& table = view.tables()[t];
    const size_t heads = table.heads().size();
    std::vector<List> lists;
    for (const KvHead head : table.heads()) {
      lists.push_back(read(view, table, head));
      if (!lists.back().valid) return false;
      lists.back().positions.push_back(view.first_position);
    }
    std::vector<Copies*> copies;
    for (const KvHead head : table.heads()) copies.push_back(&view.state.derived<Copies>(name("copies", head)));
    view.ops.pool.parallel_for(heads, [&](size_t h, int) { copies[h]->bring(table, h, lists[h].positions, k_ + 1); });
    std::vector<const std::byte*> pages;
    std::vector<uint32_t> counts;
    for (size_t h = 0; h < heads; ++h) {
      pages.push_back(copies[h]->pages());
      counts.push_back(static_cast<uint32_t>(lists[h].positions.size()));
    }
    builder.select_copies(view, t, pages, counts);
    drop(view, table, pages, lists);
    return true;
  }

  // Where the step's entries stay: at their places behind the lists, or at those of what has the lowest probability.
  void drop(const View& view, const Table& table, std::span<const std::byte* const> pages,
            std::span<List> lists) const {
    std::vector<uint32_t> places;
    for (const List& list : lists) places.push_back(static_cast<uint32_t>(list.positions.size() - 1));
    if (std::any_of(places.begin(), places.end(), [&](uint32_t place) { return place >= k_; }))
      find_lowest(view, table, pages, lists, places);
    for (size_t h = 0; h < lists.size(); ++h) {
      List& list = lists[h];
      list.swaps.push_back(places[h]);
      if (list.swaps.size() < kMostSwaps) {
        view.state.store<uint32_t>(name("swaps", table.heads()[h]), list.swaps);
        continue;
      }
      const uint32_t own = list.positions.back();
      list.positions.pop_back();
      put(list.positions, places[h], own);
      write(view, table.heads()[h], list.positions, {});
    }
  }

  // places[h] of full lists becomes that of the entry to drop.
  void find_lowest(const View& view, const Table& table, std::span<const std::byte* const> pages,
                   std::span<const List> lists, std::span<uint32_t> places) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const PageLayout& layout = table.layout();
    const uint32_t group = model_.group();
    const auto heads = static_cast<uint32_t>(lists.size());
    const auto width = static_cast<uint32_t>(round_up(uint64_t{k_} + 1, uint64_t{kPageSlots}));
    Rows queries = scratch.rows(size_t{heads} * group, layout.padded_dim);
    Rows seen = scratch.rows(size_t{heads} * group, width), shares = scratch.rows(heads, width);
    std::vector<ScoreJob> jobs;
    std::vector<std::vector<const std::byte*>> of_head(heads);
    std::vector<uint32_t> lengths;
    for (uint32_t h = 0; h < heads; ++h) {
      const auto count = static_cast<uint32_t>(lists[h].positions.size());
      float* q = const_cast<float*>(view.queries.row(0)) + size_t{table.heads()[h].value} * group * model_.head_dim;
      const Rows own{queries.row(size_t{h} * group), group, queries.width, queries.stride};
      prepare_queries(layout, {q, group, model_.head_dim, model_.head_dim}, model_.score_scale, own);
      for (uint32_t i = 0; i < count; i += kPageSlots) {
        of_head[h].push_back(pages[h] + size_t{i / kPageSlots} * layout.bytes);
      }
      jobs.push_back({.keys = {.layout = &layout, .pages = of_head[h], .tiles = nullptr, .count = count},
                      .queries = own,
                      .scores = {seen.row(size_t{h} * group), group, width, width}});
      lengths.insert(lengths.end(), group, count);
    }
    scores(view.ops, jobs);
    softmax(view.ops, seen, lengths);
    std::vector<uint32_t> counts;
    for (const List& list : lists) counts.push_back(static_cast<uint32_t>(list.positions.size()));
    pool_rows(view.ops, seen, group, group_pooling(), shares, counts);
    for (uint32_t h = 0; h < heads; ++h) {
      if (places[h] < k_) continue;
      places[h] = lowest(shares.row(h), lists[h].positions);
    }
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
