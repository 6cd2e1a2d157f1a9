// SnapKV: when a prompt has been read, each KV head keeps the entries that the prompt's last rows attend to most, and
// those rows' own. Li et al., SnapKV: LLM Knows What You are Looking for Before Generation, arXiv:2404.14469,
// section 4.
//
// Votes are the probabilities of the last `window` rows, summed over rows and averaged over the group's query heads,
// smoothed over neighbours. The window's own entries do not vote for themselves and are always kept. Generated entries
// are all kept. A later prompt of the same conversation is read on top of what is left, and compressed with it.
#include <algorithm>
#include <numeric>

#include "attention/primitives/pool.h"
#include "attention/primitives/top.h"
#include "attention/retain/retain.h"
#include "attention/stages/observe.h"
#include "base/checked.h"

namespace loci {
namespace {

enum class VotePool : uint8_t { kMean, kMax };

struct SnapKvOptions {
  int64_t budget = 1024;
  int64_t window = 32;
  int64_t kernel = 7;
  VotePool pool = VotePool::kMax;
};

class SnapKv final : public Retain {
 public:
  SnapKv(const SnapKvOptions& options, const ModelShape& model) : options_(options), model_(model) {}

  bool edits() const override { return true; }
  uint64_t kept(LayerId, KvHead, uint32_t prompt) const override {
    return std::min<uint64_t>(prompt, static_cast<uint64_t>(options_.budget));
  }

  void after_prompt(const View& view, CacheEdit& edit) const override {
    for (const Table& table : view.tables()) {
      for (size_t h = 0; h < table.heads().size(); ++h) {
        const KvHead head = table.heads()[h];
        const bool asked = std::find(edit.heads().begin(), edit.heads().end(), head) != edit.heads().end();
        if (asked && table.length() > budget()) edit.keep(head, choose(view, table, h));
      }
    }
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots);
    const uint32_t rows = std::min(window(), bounds.rows);
    return Workspace::bytes_of<float>(uint64_t{rows} * model_.group() * width) +
           2 * Workspace::bytes_of<float>(model_.group() * width) + Workspace::bytes_of<float>(width) +
           Workspace::bytes_of<uint32_t>(std::min<uint64_t>(budget(), width)) + Workspace::bytes_of<uint32_t>(1) +
           observe_scratch_bytes(model_, rows, bounds.threads);
  }

 private:
  uint32_t budget() const { return static_cast<uint32_t>(options_.budget); }
  uint32_t window() const { return static_cast<uint32_t>(options_.window); }

  std::vector<SlotId> choose(const View& view, const Table& table, size_t head_index) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t rows = std::min({window(), view.rows(), budget()});
    const uint32_t group = view.model.group();
    const uint32_t voted = table.length() - rows;  // the window's entries are kept anyhow
    Rows seen = scratch.rows(size_t{rows} * group, observed_width(table));
    observe(view, table, head_index, view.rows() - rows, rows, seen);

    Rows votes = scratch.rows(group, observed_width(table));
    std::fill_n(votes.data, votes.size(), 0.0F);
    for (size_t r = 0; r < seen.rows; ++r) {
      float* to = votes.row(r % group);
      const float* from = seen.row(r);
      for (uint32_t i = 0; i < voted; ++i) to[i] += from[i];
    }
    const std::vector<uint32_t> lengths(group, voted);
    Rows smooth = scratch.rows(group, votes.width);
    pool_window(view.ops, votes, static_cast<uint32_t>(options_.kernel),
                options_.pool == VotePool::kMax ? Pooling::kMax : Pooling::kMean, smooth, lengths);
    Rows score = scratch.rows(1, votes.width);
    pool_rows(view.ops, smooth, group, Pooling::kMean, score, std::span(lengths).first(1));

    const uint32_t wanted = std::min(budget() - rows, voted);
    Lists top{.elements = scratch.take<uint32_t>(std::max(wanted, 1u)).data(),
              .counts = scratch.take<uint32_t>(1).data(),
              .rows = 1,
              .capacity = std::max(wanted, 1u)};
    std::vector<SlotId> slots;
    if (wanted > 0) {
      top_k(view.ops, score, wanted, top, std::span(lengths).first(1));
      for (const uint32_t slot : top.row(0)) slots.push_back(SlotId(slot));
    }
    for (uint32_t slot = voted; slot < table.length(); ++slot) slots.push_back(SlotId(slot));
    return slots;
  }

  SnapKvOptions options_;
  const ModelShape model_;
};

Status check_snapkv(const MethodCall& call) {
  const auto o = call.as<SnapKvOptions>();
  if (o.window < o.budget) return {};
  return fail(ErrorCode::kInvalidArgument, "window is {}, but must be below the budget of {}", o.window, o.budget);
}

Result<std::unique_ptr<Retain>> make_snapkv(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<SnapKvOptions>();
  if (static_cast<uint64_t>(options.budget) >= context.context) return std::make_unique<Retain>();
  return std::unique_ptr<Retain>(std::make_unique<SnapKv>(options, context.model));
}

}  // namespace

const Method kSnapKv = {
    .name = "snapkv",
    .summary = "When the prompt is read, a head keeps what the prompt's last rows attend to most.",
    .stages = {Stage::kRetain},
    .parameters = {integer<&SnapKvOptions::budget>("budget", {2, 1 << 24}, "entries",
                                                   "of the prompt that a head keeps, the window included"),
                   integer<&SnapKvOptions::window>("window", {1, 256}, "rows", "at the prompt's end that vote"),
                   integer<&SnapKvOptions::kernel>("kernel", {1, 255, 2}, "entries",
                                                   "over which votes are pooled; twice a value's length and one more "
                                                   "keep whole values"),
                   choice<&SnapKvOptions::pool>("pool", {"mean", "max"}, "how neighbours' votes are pooled")},
    .lookback = {.count = 1, .times = {"window"}},
    .citation = "SnapKV: LLM Knows What You are Looking for Before Generation, arXiv:2404.14469",
    .dense_when = "budget >= context",
    .trial = "budget=48,window=8",
    .dense_trial = "budget=1048576",
    .changes_prompt = never,
    .check = check_snapkv,
    .make_retain = make_snapkv,
};

}  // namespace loci
