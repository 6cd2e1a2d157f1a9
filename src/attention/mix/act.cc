// ACT: in chosen heads, later attention sinks give most of their attention to the rest of the context. Yu et al.,
// Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training through Attention
// Calibration, arXiv:2406.15765, section 4.
//
// A sink is a position, other than 0, that the rows of a cell attend to with more than tau on the mean; the mean is
// over the rows that see it, at least 32 of them, so that the last columns are no means of a few rows. Where p is a
// row's attention to all sinks, it becomes beta * p, and the others keep their proportions: the merge of two parts,
//   o' = beta * p * o_sinks + (1 - beta * p) * o_rest.
// The paper looks at the whole prompt, which this equals for a prompt of one cell. Decode steps, and cells of fewer
// than 32 rows, go on with the sinks of the cell before. Heads that keep a window alone are left as they are.
#include <algorithm>
#include <cmath>

#include "attention/mix/head_list.h"
#include "attention/mix/mix.h"
#include "attention/stages/observe.h"
#include "base/checked.h"
#include "io/profile.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr uint32_t kLeastRows = 32;  // of a column's mean
constexpr uint32_t kBlockRows = 32;  // observed at a time
constexpr std::string_view kWhyNoSelect = "a sink's share is one of all that a head keeps, not of a selection";

struct ActOptions {
  double beta = 0.4;
  double tau = 0.1;
  double alpha = 0;
  int64_t cell = 2048;
  std::string heads = "auto";
  std::string profile = "auto";
};

// The rows [first, first + count) of a pass that lie in one cell.
struct CellRows {
  uint32_t first = 0;
  uint32_t count = 0;
};

class Act final : public Mix {
 public:
  Act(const ActOptions& options, HeadSet heads, const ModelShape& model)
      : options_(options), heads_(std::move(heads)), model_(model) {}

  void after_read(const View& view, std::span<const QueryHead> asked, Rows o,
                  std::span<const float> lse) const override {
    const std::span<const Table> tables = view.tables();
    for (size_t t = 0; t < tables.size(); ++t) {
      if (!view.cache.pattern(view.layer, t).dense()) continue;
      for (size_t h = 0; h < tables[t].heads().size(); ++h) {
        std::vector<QueryHead> group;
        for (const QueryHead head : asked) {
          if (head.value / model_.group() == tables[t].heads()[h].value && heads_.has(view.layer, head))
            group.push_back(head);
        }
        if (!group.empty()) calibrate(view, tables[t], h, group, o, lse);
      }
    }
  }

  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    const uint64_t width = round_up(bounds.tokens, kPageSlots), rows = std::min(kBlockRows, bounds.rows);
    return Workspace::bytes_of<float>(rows * model_.group() * width) +
           Workspace::bytes_of<double>(model_.group() * width) +
           observe_scratch_bytes(model_, static_cast<uint32_t>(rows), bounds.threads);
  }
  // A sink takes more than tau of 32 rows at least, and the attention of a cell's rows adds up to their number.
  uint64_t state_bytes(LayerId layer, const StageBounds& bounds) const override {
    if (!model_.open(layer)) return 0;
    const double tau = options_.alpha > 0 ? options_.alpha / bounds.tokens : options_.tau;
    const double most = static_cast<double>(options_.cell) / (kLeastRows * tau);
    const auto sinks = static_cast<uint64_t>(std::min<double>(most, bounds.tokens)) + 1;
    return sinks * sizeof(uint32_t) * model_.query_heads;
  }

 private:
  static std::string name_of(QueryHead head) { return fmt::format("sinks {}", head.value); }

  void calibrate(const View& view, const Table& table, size_t head_index, std::span<const QueryHead> group, Rows o,
                 std::span<const float> lse) const {
    MethodState state = view.state;
    for (const CellRows& rows : cells(view)) {
      if (view.phase == Phase::kPrefill && rows.count >= kLeastRows) find_sinks(view, table, head_index, rows, group);
      for (const QueryHead head : group) {
        const std::span<const uint32_t> sinks = state.read<uint32_t>(name_of(head));
        if (!sinks.empty()) shrink(view, table, head_index, rows, head, sinks, o, lse);
      }
    }
  }

  std::vector<CellRows> cells(const View& view) const {
    std::vector<CellRows> out;
    const auto cell = static_cast<uint32_t>(options_.cell);
    for (uint32_t i = 0; i < view.rows();) {
      const uint32_t left = cell - (view.first_position + i) % cell;
      out.push_back({i, std::min(left, view.rows() - i)});
      i += out.back().count;
    }
    return out;
  }

  // Column means over a cell's rows; what exceeds tau is remembered, by position.
  void find_sinks(const View& view, const Table& table, size_t head_index, CellRows rows,
                  std::span<const QueryHead> group) const {
    Workspace& scratch = view.ops.scratch;
    const Workspace::Mark mark(scratch);
    const uint32_t width = observed_width(table), heads = model_.group();
    const std::span<double> sums = scratch.take<double>(size_t{heads} * width);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (uint32_t done = 0; done < rows.count; done += kBlockRows) {
      const Workspace::Mark block(scratch);
      const uint32_t count = std::min(kBlockRows, rows.count - done);
      Rows seen = scratch.rows(size_t{count} * heads, width);
      observe(view, table, head_index, rows.first + done, count, seen);
      for (uint32_t r = 0; r < seen.rows; ++r) {
        const float* p = seen.row(r);
        double* to = &sums[size_t{r % heads} * width];
        for (uint32_t slot = 0; slot < table.length(); ++slot) to[slot] += p[slot];
      }
    }
    MethodState state = view.state;
    for (const QueryHead head : group) {
      const std::span<const double> of_head = sums.subspan(size_t{head.value % heads} * width, width);
      state.store<uint32_t>(name_of(head), above_tau(view, table, rows, of_head));
    }
  }

  std::vector<uint32_t> above_tau(const View& view, const Table& table, CellRows rows,
                                  std::span<const double> sums) const {
    const uint32_t end = view.first_position + rows.first + rows.count;
    const double tau = options_.alpha > 0 ? options_.alpha / end : options_.tau;
    std::vector<uint32_t> out;
    for (uint32_t slot = 0; slot < table.length(); ++slot) {
      const uint32_t position = table.position(SlotId(slot)).value;
      if (position == 0) continue;
      if (position + kLeastRows > end) break;
      const uint32_t seen_by = std::min(rows.count, end - position);
      if (sums[slot] / seen_by > tau) out.push_back(position);
    }
    return out;
  }

  // o' = beta * a + (1 - beta * p) / (1 - p) * (o - a), where a is what the sinks bring into o.
  void shrink(const View& view, const Table& table, size_t head_index, CellRows rows, QueryHead head,
              std::span<const uint32_t> sinks, Rows o, std::span<const float> lse) const {
    const std::vector<Entry> entries = decode(view, table, head_index, sinks);
    const uint32_t dim = model_.head_dim;
    view.ops.pool.parallel_for(rows.count, [&](size_t r, int) {
      const uint32_t i = rows.first + static_cast<uint32_t>(r);
      const float* query = view.queries.row(i) + size_t{head.value} * dim;
      float* out = o.row(i) + size_t{head.value} * dim;
      const float row_lse = lse[size_t{i} * model_.query_heads + head.value];
      std::vector<double> brought(dim);
      double p = 0;
      for (const Entry& entry : entries) {
        if (entry.position > view.first_position + i) break;
        double score = 0;
        for (uint32_t d = 0; d < dim; ++d) score += double{query[d]} * entry.key[d];
        const double share = std::exp(score * model_.score_scale - row_lse);
        p += share;
        for (uint32_t d = 0; d < dim; ++d) brought[d] += share * entry.value[d];
      }
      // Position 0 keeps something for the rest; rounding must not turn that into nothing.
      const double rest = std::max(1e-6, 1 - p);
      const double scale = (1 - options_.beta * std::min(p, 1.0)) / rest;
      for (uint32_t d = 0; d < dim; ++d)
        out[d] = static_cast<float>(options_.beta * brought[d] + scale * (out[d] - brought[d]));
    });
  }

  struct Entry {
    uint32_t position;
    std::vector<float> key, value;  // as queries meet them: rotated back where the codec rotates
  };

  // Those of the sinks that the table still holds.
  std::vector<Entry> decode(const View& view, const Table& table, size_t head_index,
                            std::span<const uint32_t> sinks) const {
    const PageLayout& layout = table.layout();
    std::vector<float> keys(size_t{layout.padded_dim} * kPageSlots), values(keys.size());
    const KvDecodeKernels& kernels = kv_decode_kernels(view.ops.isa);
    uint32_t decoded = ~0u;
    std::vector<Entry> out;
    for (const uint32_t position : sinks) {
      const SlotId slot(table.slots_before(TokenPos(position)));
      if (slot.value >= table.length() || table.position(slot).value != position) continue;
      if (slot.value / kPageSlots != decoded) {
        decoded = slot.value / kPageSlots;
        kernels.keys(layout, table.page_of(slot, head_index), keys.data());
        kernels.values(layout, table.page_of(slot, head_index), values.data());
      }
      Entry entry{position, std::vector<float>(layout.padded_dim), {}};
      for (uint32_t d = 0; d < layout.padded_dim; ++d)
        entry.key[d] = keys[size_t{d} * kPageSlots + slot.value % kPageSlots];
      if (layout.rotated) rotate_groups(entry.key.data(), layout.padded_dim);
      const float* value = &values[size_t{slot.value % kPageSlots} * layout.padded_dim];
      entry.value.assign(value, value + model_.head_dim);
      out.push_back(std::move(entry));
    }
    return out;
  }

  ActOptions options_;
  HeadSet heads_;
  const ModelShape model_;
};

Result<HeadSet> profiled_heads(const ActOptions& options, const MethodContext& context) {
  const ModelShape& model = context.model;
  LOCI_TRY(const Profile profile, context.profile("act", options.profile));
  if (profile.layers != model.layers || profile.heads != model.query_heads) {
    return fail(ErrorCode::kInvalidArgument, "profile 'act' is for {} layers of {} heads, the model has {} of {}",
                profile.layers, profile.heads, model.layers, model.query_heads);
  }
  LOCI_TRY(const std::span<const double> gain, profile.table("gain"));
  HeadSet out(model);
  for (uint32_t i = 0; i < gain.size(); ++i) {
    if (gain[i] > 0) out.add(LayerId(i / model.query_heads), QueryHead(i % model.query_heads));
  }
  return out;
}

// Heads that were named one by one must be such as act works on.
Status refuse_windows(const std::string& text, const HeadSet& heads, const ModelShape& model) {
  for (uint32_t l = 0; l < model.layers && text != "all"; ++l) {
    for (uint32_t h = 0; h < model.query_heads; ++h) {
      if (model.open(LayerId(l)) || !heads.has(LayerId(l), QueryHead(h))) continue;
      return fail(ErrorCode::kUnsupported,
                  "act: head {}.{} reads a window of {} tokens by the model's own design, and act works on heads that "
                  "read everything: leave it out",
                  l, h, model.windows[l]);
    }
  }
  return {};
}

Result<std::unique_ptr<Mix>> make_act(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<ActOptions>();
  if (options.beta == 1) return std::unique_ptr<Mix>(std::make_unique<NoMix>());
  HeadSet heads(context.model);
  if (options.heads == "auto") {
    LOCI_TRY(heads, profiled_heads(options, context));
  } else {
    LOCI_TRY(heads, HeadSet::parse(options.heads, context.model));
    LOCI_CHECK(refuse_windows(options.heads, heads, context.model));
  }
  if (heads.empty()) return std::unique_ptr<Mix>(std::make_unique<NoMix>());
  return std::unique_ptr<Mix>(std::make_unique<Act>(options, std::move(heads), context.model));
}

}  // namespace

const Method kAct = {
    .name = "act",
    .summary = "In chosen heads, attention sinks other than the first token pass most of their attention on.",
    .stages = {Stage::kMix},
    .parameters = {number<&ActOptions::beta>("beta", {0, 1}, "", "what a sink keeps of its attention"),
                   number<&ActOptions::tau>("tau", {0.001, 1}, "", "mean attention above which a position is a sink"),
                   number<&ActOptions::alpha>("alpha", {0, 1e6}, "",
                                              "if not 0, tau is alpha / tokens instead: the paper's form, 5"),
                   integer<&ActOptions::cell>("cell", {64, 1 << 16, 64}, "tokens",
                                              "over whose rows attention is averaged"),
                   text<&ActOptions::heads>(
                       "heads", "query heads that are calibrated, as 4.0+5.3, all or none; auto: the profile"),
                   text<&ActOptions::profile>("profile", "the file of heads; auto: the shipped one")},
    .cell = {.count = 1, .times = {"cell"}},
    // A prompt's last rows may be too few for means of their own: the cell before is then read with them, also where
    // its entries come from an earlier prompt.
    .lookback = {.count = kLeastRows},
    .citation =
        "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training "
        "through Attention Calibration, arXiv:2406.15765",
    .dense_when = "beta=1 or heads=none",
    .trial = "beta=0.2,tau=0.02,cell=64,heads=all",
    .dense_trial = "beta=1,heads=all",
    .profile = "act",
    .excludes = {{"flexprefill", kWhyNoSelect},
                 {"anchor", kWhyNoSelect},
                 {"tokenselect", kWhyNoSelect},
                 {"recycled", kWhyNoSelect}},
    .make_mix = make_act,
};

}  // namespace loci
