// Task-KV: when a prompt has been read, the heads whose output is farthest from their layer's mean keep everything, and
// the others keep sinks, recent entries and what the prompt's last rows attend to most between them. He et al.,
// Task-KV: Task-aware KV Cache Optimization via Semantic Differentiation of Attention Heads, arXiv:2501.15113,
// sections IV and V.
//
// c[j] is the mean probability of entry j over the last `window` rows of a query head; a head's semantic vector is the
// sum of c[j] V[j] over its `top` largest c, the mean of a group's vectors that of its KV head. In layer r of R, of n
// KV heads, F = round(n beta - (n beta - n beta_last) r / (R - 1)) keep everything: F - 1 by their distance from the
// mean of all, and of the rest the nearest, which stands for what the others agree on; one alone is the farthest. The
// layer's budget of budget * n * N entries leaves (budget n N - N F) / (n - F) to each of the others. If that does not
// hold sinks and recent entries, F is lowered. Generated entries are all kept.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "attention/primitives/pool.h"
#include "attention/primitives/top.h"
#include "attention/retain/retain.h"
#include "attention/stages/observe.h"
#include "base/checked.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

struct TaskKvOptions {
  double budget = 0.4;
  double beta = 0.3;
  double beta_last = 0.03125;
  int64_t sinks = 16;
  int64_t recent = 256;
  int64_t window = 32;
  int64_t kernel = 7;
  int64_t top = 256;
};

// A KV head and where its entries lie.
struct HeadPlace {
  const Table* table;
  size_t head_index;
  KvHead head;
};

// How a layer's budget is shared out.
struct Shares {
  uint32_t full = 0;    // heads that keep everything
  uint64_t middle = 0;  // entries between sinks and recent ones that each of the others keeps
};

class TaskKv final : public Retain {
 public:
  TaskKv(const TaskKvOptions& options, const ModelShape& model) : options_(options), model_(model) {}

  bool edits() const override { return true; }

  // Which heads keep everything is known when the prompt has been read; how many, before. As bytes add up over a
  // layer's heads, the first ones stand for them.
  uint64_t kept(LayerId layer, KvHead head, uint32_t prompt) const override {
    const Shares shares = share_out(layer, prompt);
    return head.value < shares.full ? prompt : std::min<uint64_t>(prompt, ends() + shares.middle);
  }

  void after_prompt(const View& view, CacheEdit& edit) const override {
    const Shares shares = share_out(view.layer, view.tokens());
    const std::vector<HeadPlace> heads = places(view, edit.heads());
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    Rows scores = scratch.rows(heads.size(), round_up(view.tokens(), kPageSlots));
    std::vector<std::vector<double>> meanings;
    for (size_t h = 0; h < heads.size(); ++h) {
      Rows score{scores.row(h), 1, observed_width(*heads[h].table), observed_width(*heads[h].table)};
      meanings.push_back(observe_head(view, heads[h], score));
    }
    const std::vector<bool> full = apart(meanings, shares.full);
    for (size_t h = 0; h < heads.size(); ++h) {
      const uint32_t length = heads[h].table->length();
      if (full[h] || length <= ends() + shares.middle) continue;
      Rows score{scores.row(h), 1, observed_width(*heads[h].table), observed_width(*heads[h].table)};
      edit.keep(heads[h].head, choose(view, score, length, static_cast<uint32_t>(shares.middle)));
    }
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots);
    const uint32_t rows = std::min(window(), bounds.rows), group = model_.group();
    const uint64_t votes = Workspace::bytes_of<float>(rows * group * width) + Workspace::bytes_of<float>(group * width);
    const uint64_t tops = lists_bytes(group, std::min<uint64_t>(options_.top, width));
    const uint64_t values = Workspace::bytes_of<float>(tile_floats() * static_cast<size_t>(bounds.threads));
    const uint64_t observing = votes + std::max({observe_scratch_bytes(model_, rows, bounds.threads), tops + values,
                                                 Workspace::bytes_of<float>(group * width)});
    return Workspace::bytes_of<float>(model_.kv_heads * width) + std::max(observing, lists_bytes(1, width));
  }

 private:
  uint32_t window() const { return static_cast<uint32_t>(options_.window); }
  uint32_t sinks() const { return static_cast<uint32_t>(options_.sinks); }
  uint32_t recent() const { return static_cast<uint32_t>(options_.recent); }
  uint64_t ends() const { return uint64_t{sinks()} + recent(); }
  size_t tile_floats() const { return round_up(model_.head_dim, kCodeGroup) * kPageSlots; }
  static uint64_t lists_bytes(uint64_t rows, uint64_t capacity) {
    return Workspace::bytes_of<uint32_t>(rows * capacity) + Workspace::bytes_of<uint32_t>(rows);
  }

  // F of a layer, before the budget has its say. Layers that are left alone do not count.
  uint32_t full_wanted(LayerId layer) const {
    uint32_t before = 0, all = 0;
    for (uint32_t l = 0; l < model_.layers; ++l) {
      if (!model_.open(LayerId(l))) continue;
      before += l < layer.value ? 1 : 0;
      ++all;
    }
    const double depth = all > 1 ? static_cast<double>(before) / (all - 1) : 0;
    const double share = options_.beta - (options_.beta - options_.beta_last) * depth;
    return static_cast<uint32_t>(std::floor(share * model_.kv_heads + 0.5));
  }

  Shares share_out(LayerId layer, uint32_t tokens) const {
    const uint32_t heads = model_.kv_heads;
    const double entries = options_.budget * heads * tokens + 1e-6;  // 0.7 * 4 * 300 is below 840
    for (uint32_t full = std::min(full_wanted(layer), heads - 1); full > 0; --full) {
      const double left = std::floor((entries - static_cast<double>(full) * tokens) / (heads - full));
      if (left >= static_cast<double>(ends())) return {full, static_cast<uint64_t>(left) - ends()};
    }
    const double left = std::floor(entries / heads);
    return {0, left > static_cast<double>(ends()) ? static_cast<uint64_t>(left) - ends() : 0};
  }

  static std::vector<HeadPlace> places(const View& view, std::span<const KvHead> heads) {
    std::vector<HeadPlace> out;
    for (const Table& table : view.tables()) {
      for (size_t h = 0; h < table.heads().size(); ++h) {
        if (std::binary_search(heads.begin(), heads.end(), table.heads()[h]))
          out.push_back({&table, h, table.heads()[h]});
      }
    }
    std::sort(out.begin(), out.end(), [](const HeadPlace& a, const HeadPlace& b) { return a.head < b.head; });
    return out;
  }

  // The head's scores of its entries, pooled over neighbours and over the group; returns its semantic vector.
  std::vector<double> observe_head(const View& view, const HeadPlace& of, Rows score) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t rows = std::min(window(), view.rows()), group = model_.group();
    const uint32_t length = of.table->length();
    Rows seen = scratch.rows(size_t{rows} * group, score.width);
    observe(view, *of.table, of.head_index, view.rows() - rows, rows, seen);
    Rows means = scratch.rows(group, score.width);
    std::fill_n(means.data, means.size(), 0.0F);
    for (size_t r = 0; r < seen.rows; ++r) {
      float* to = means.row(r % group);
      for (uint32_t j = 0; j < length; ++j) to[j] += seen.row(r)[j];
    }
    for (uint32_t g = 0; g < group; ++g) {
      for (uint32_t j = 0; j < length; ++j) means.row(g)[j] /= static_cast<float>(rows);
    }
    const std::vector<uint32_t> lengths(group, length);
    const std::vector<double> meaning = mean_output(view, of, means, lengths);
    Rows smooth = scratch.rows(group, score.width);
    pool_window(view.ops, means, static_cast<uint32_t>(options_.kernel), Pooling::kMean, smooth, lengths);
    pool_rows(view.ops, smooth, group, Pooling::kMean, score, std::span(lengths).first(1));
    return meaning;
  }

  // The mean over the group of sum c[j] V[j] over each query head's largest c.
  std::vector<double> mean_output(const View& view, const HeadPlace& of, const Rows& means,
                                  std::span<const uint32_t> lengths) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t group = model_.group();
    const uint32_t count = std::min(static_cast<uint32_t>(options_.top), lengths[0]);
    const Lists largest = take_lists(scratch, group, count);
    top_k(view.ops, means, count, largest, lengths);
    const PageLayout& layout = of.table->layout();
    const KvDecodeKernels& decode = kv_decode_kernels(view.ops.isa);
    const std::span<float> tiles = scratch.take<float>(tile_floats() * static_cast<size_t>(view.ops.pool.size()));
    std::vector<std::vector<double>> by_query(group, std::vector<double>(model_.head_dim));
    view.ops.pool.parallel_for(group, [&](size_t g, int worker) {
      float* tile = &tiles[static_cast<size_t>(worker) * tile_floats()];
      uint32_t decoded = ~0u;
      for (const uint32_t slot : largest.row(g)) {
        if (slot / kPageSlots != decoded) decode.values(layout, of.table->page_of(SlotId(slot), of.head_index), tile);
        decoded = slot / kPageSlots;
        const float* value = tile + size_t{slot % kPageSlots} * layout.padded_dim;
        for (uint32_t d = 0; d < model_.head_dim; ++d) by_query[g][d] += double{means.row(g)[slot]} * value[d];
      }
    });
    std::vector<double> out(model_.head_dim);
    for (const std::vector<double>& one : by_query) {
      for (uint32_t d = 0; d < model_.head_dim; ++d) out[d] += one[d] / group;
    }
    return out;
  }

  // The heads that keep everything; ties go to the lower head.
  static std::vector<bool> apart(const std::vector<std::vector<double>>& meanings, uint32_t full) {
    const size_t heads = meanings.size();
    std::vector<double> center(meanings[0].size());
    for (const std::vector<double>& meaning : meanings) {
      for (size_t d = 0; d < center.size(); ++d) center[d] += meaning[d] / static_cast<double>(heads);
    }
    std::vector<double> distance(heads);
    for (size_t h = 0; h < heads; ++h) {
      for (size_t d = 0; d < center.size(); ++d) {
        const double apart_by = meanings[h][d] - center[d];
        distance[h] += apart_by * apart_by;
      }
    }
    std::vector<size_t> order(heads);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance[a] > distance[b]; });
    std::vector<bool> out(heads);
    const size_t farthest = full > 1 ? full - 1 : full;
    for (size_t i = 0; i < farthest; ++i) out[order[i]] = true;
    if (full > 1) {
      out[*std::min_element(order.begin() + static_cast<ptrdiff_t>(farthest), order.end(), [&](size_t a, size_t b) {
        return std::pair(distance[a], a) < std::pair(distance[b], b);
      })] = true;
    }
    return out;
  }

  // Sinks, the `middle` best and the recent entries, of more than that.
  std::vector<SlotId> choose(const View& view, Rows score, uint32_t length, uint32_t middle) const {
    const Workspace::Mark mark(view.ops.scratch);
    std::fill_n(score.data, sinks(), -1.0F);  // those are kept anyhow
    const uint32_t last = length - recent();
    std::vector<SlotId> slots;
    for (uint32_t slot = 0; slot < sinks(); ++slot) slots.push_back(SlotId(slot));
    if (middle > 0) {
      const Lists best = take_lists(view.ops.scratch, 1, middle);
      top_k(view.ops, score, middle, best, std::span(&last, 1));
      for (const uint32_t slot : best.row(0)) slots.push_back(SlotId(slot));
    }
    for (uint32_t slot = last; slot < length; ++slot) slots.push_back(SlotId(slot));
    return slots;
  }

  static Lists take_lists(Workspace& scratch, uint32_t rows, uint32_t capacity) {
    return {.elements = scratch.take<uint32_t>(size_t{rows} * capacity).data(),
            .counts = scratch.take<uint32_t>(rows).data(),
            .rows = rows,
            .capacity = capacity};
  }

  TaskKvOptions options_;
  const ModelShape model_;
};

Status check_task_kv(const MethodCall& call) {
  const auto o = call.as<TaskKvOptions>();
  if (o.beta_last <= o.beta) return {};
  return fail(ErrorCode::kInvalidArgument, "beta_last is {}, but must be at most the beta of {}", o.beta_last, o.beta);
}

Result<std::unique_ptr<Retain>> make_task_kv(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<TaskKvOptions>();
  const bool wide = static_cast<uint64_t>(options.sinks + options.recent) >= context.context;
  if (options.budget == 1 || options.beta_last == 1 || wide) return std::make_unique<Retain>();
  return std::unique_ptr<Retain>(std::make_unique<TaskKv>(options, context.model));
}

constexpr std::string_view kWhyAlone = "task-kv shares one budget out over a layer's heads";

}  // namespace

const Method kTaskKv = {
    .name = "task-kv",
    .summary = "When the prompt is read, heads whose output stands apart keep everything, the others a budget.",
    .stages = {Stage::kRetain},
    .parameters =
        {number<&TaskKvOptions::budget>("budget", {0, 1}, "", "share of a layer's entries of the prompt that is kept"),
         number<&TaskKvOptions::beta>("beta", {0, 1}, "", "share of the first layer's KV heads that keep everything"),
         number<&TaskKvOptions::beta_last>("beta_last", {0, 1}, "",
                                           "that share in the last layer; layers between lie on a line"),
         integer<&TaskKvOptions::sinks>("sinks", {0, 4096}, "entries", "that the other heads keep at the beginning"),
         integer<&TaskKvOptions::recent>("recent", {1, 1 << 24}, "entries", "that they keep at the end"),
         integer<&TaskKvOptions::window>("window", {1, 256}, "rows", "at the prompt's end whose attention decides"),
         integer<&TaskKvOptions::kernel>("kernel", {1, 255, 2}, "entries",
                                         "over which scores are pooled; twice a value's length and one more keep "
                                         "whole values"),
         integer<&TaskKvOptions::top>("top", {1, 1 << 20}, "entries", "whose values make a head's semantic vector")},
    .granularity = Granularity::kLayer,
    .lookback = {.count = 1, .times = {"window"}},
    .citation =
        "Task-KV: Task-aware KV Cache Optimization via Semantic Differentiation of Attention Heads, "
        "arXiv:2501.15113",
    .dense_when = "budget = 1, beta_last = 1, or sinks + recent >= context",
    .trial = "budget=0.4,sinks=4,recent=40,top=64",
    .dense_trial = "budget=1",
    .changes_prompt = never,
    .check = check_task_kv,
    .excludes =
        {{"streaming", kWhyAlone}, {"snapkv", kWhyAlone}, {"duo", kWhyAlone}, {"razor", kWhyAlone}, {"moa", kWhyAlone}},
    .make_retain = make_task_kv,
};

}  // namespace loci
