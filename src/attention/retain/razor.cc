// RazorAttention: retrieval heads keep everything; when a prompt has been read, the other heads keep attention sinks
// and a share of it at its end, and one compensation entry in place of what they drop. Tang et al., RazorAttention:
// Efficient KV Cache Compression Through Retrieval Heads, arXiv:2407.15891, section 3 and algorithm 1.
//
// Which heads: the best by attention to what followed the same token earlier (induction), and the best by attention to
// the same token (echo), over all layers together.
//
// A head that drops: with N tokens read, the last L = max(window, N / compression) stay, and the first `sinks`. The
// compensation entry is the mean key (as rotated) and the mean value of the N_d dropped entries; its weight counts N_d
// times: o = (sum e^{s_n} v_n + N_d e^{s_c} v_c) / (sum e^{s_n} + N_d e^{s_c}). Generated entries all stay until a
// later prompt has been read: then the border moves on and the mean takes in what it passes. The entry is read by
// answers; a later prompt's rows see only what is left.
#include <algorithm>
#include <cmath>

#include "attention/retain/head_ranking.h"
#include "attention/retain/retain.h"
#include "base/checked.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

struct RazorOptions {
  double ratio = 0;
  double induction = 0.14;
  double echo = 0.01;
  int64_t window = 4000;
  int64_t compression = 5;
  int64_t sinks = 4;
  bool compensation = true;
  std::string profile = "auto";
};

// Sums over entries of one head.
struct Sums {
  std::vector<double> keys, values;  // [padded_dim], keys as they are stored
  uint32_t count = 0;
};

class Razor final : public Retain {
 public:
  Razor(const RazorOptions& options, std::vector<bool> full, const ModelShape& model)
      : options_(options), full_(std::move(full)), model_(model) {}

  Pattern pattern(LayerId layer, KvHead head, Phase phase, const RequestFacts& facts) const override {
    const uint32_t border = phase == Phase::kDecode ? border_of(facts) : 0;
    if (full(layer, head) || border <= sinks()) return {};
    return {.sinks = sinks(), .floor = border};
  }
  uint32_t head_class(LayerId layer, KvHead head) const override { return full(layer, head) ? 0 : 1; }

  void after_prompt(const View& view, CacheEdit& edit) const override {
    const uint32_t border = border_of(view.facts);
    if (!options_.compensation || border <= sinks()) return;
    std::vector<Dropped> dropped;
    for (const Table& table : view.tables()) {
      for (size_t h = 0; h < table.heads().size(); ++h) {
        const KvHead head = table.heads()[h];
        const bool asked = std::binary_search(edit.heads().begin(), edit.heads().end(), head);
        if (asked && !full(view.layer, head)) dropped.push_back({&table, h, head.value});
      }
    }
    compensate(view, dropped, border);
  }

  void add_entries(const View& view, std::span<ExtraEntry> extras) const override {
    const std::span<const double> counts = view.state.read<double>("count");
    const std::span<const float> keys = view.state.read<float>("key"), values = view.state.read<float>("value");
    for (size_t h = 0; h < counts.size(); ++h) {
      if (counts[h] == 0) continue;
      const size_t at = h * model_.head_dim;
      extras[h] = {.key = &keys[at], .value = &values[at], .log_weight = static_cast<float>(std::log(counts[h]))};
    }
  }

  uint64_t state_bytes(LayerId, const StageBounds&) const override {
    if (!options_.compensation) return 0;
    return model_.kv_heads * (sizeof(double) + uint64_t{2} * model_.head_dim * sizeof(float));
  }
  uint64_t scratch_bytes(const StageBounds& bounds) const override {
    return Workspace::bytes_of<float>(tile_floats() * static_cast<size_t>(bounds.threads));
  }

 private:
  struct Dropped {
    const Table* table;
    size_t head_index;
    uint32_t head;
  };

  bool full(LayerId layer, KvHead head) const { return full_[size_t{layer.value} * model_.kv_heads + head.value]; }
  uint32_t sinks() const { return static_cast<uint32_t>(options_.sinks); }
  size_t tile_floats() const { return round_up(model_.head_dim, kCodeGroup) * kPageSlots; }

  // The first position behind the sinks that stays.
  uint32_t border_of(const RequestFacts& facts) const {
    const uint32_t read = facts.prompt_tokens;
    const auto last =
        std::max(static_cast<uint32_t>(options_.window), read / static_cast<uint32_t>(options_.compression));
    return read > last ? read - last : 0;
  }

  // The means take in the entries from the last border to this one.
  void compensate(const View& view, std::span<const Dropped> dropped, uint32_t border) const {
    if (dropped.empty()) return;
    MethodState state = view.state;
    const size_t floats = size_t{model_.kv_heads} * model_.head_dim;
    const auto old = [](auto span, size_t count) {
      std::vector<std::remove_const_t<typename decltype(span)::element_type>> out(span.begin(), span.end());
      out.resize(count);
      return out;
    };
    const std::vector<double> old_counts = old(state.read<double>("count"), model_.kv_heads);
    const std::vector<float> old_keys = old(state.read<float>("key"), floats);
    const std::vector<float> old_values = old(state.read<float>("value"), floats);
    const std::span<double> counts = state.write<double>("count", model_.kv_heads);
    const std::span<float> keys = state.write<float>("key", floats), values = state.write<float>("value", floats);
    std::copy(old_counts.begin(), old_counts.end(), counts.begin());
    std::copy(old_keys.begin(), old_keys.end(), keys.begin());
    std::copy(old_values.begin(), old_values.end(), values.begin());

    const Workspace::Mark mark(view.ops.scratch);
    const std::span<float> tiles =
        view.ops.scratch.take<float>(tile_floats() * static_cast<size_t>(view.ops.pool.size()));
    view.ops.pool.parallel_for(dropped.size(), [&](size_t index, int worker) {
      const Dropped& of = dropped[index];
      const uint32_t passed = sinks() + static_cast<uint32_t>(old_counts[of.head]);
      const Sums sums = add_up(view, of, passed, border, &tiles[static_cast<size_t>(worker) * tile_floats()]);
      const double count = old_counts[of.head] + sums.count;
      if (sums.count == 0) return;
      counts[of.head] = count;
      const std::vector<float> turned = unrotated(of.table->layout(), sums.keys);
      for (size_t d = 0, at = size_t{of.head} * model_.head_dim; d < model_.head_dim; ++d, ++at) {
        keys[at] = static_cast<float>((old_counts[of.head] * old_keys[at] + double{turned[d]}) / count);
        values[at] = static_cast<float>((old_counts[of.head] * old_values[at] + sums.values[d]) / count);
      }
    });
  }

  // Positions [first, last), in order.
  Sums add_up(const View& view, const Dropped& of, uint32_t first, uint32_t last, float* tile) const {
    const Table& table = *of.table;
    const PageLayout& layout = table.layout();
    const size_t dim = layout.padded_dim;
    const KvDecodeKernels& decode = kv_decode_kernels(view.ops.isa);
    Sums out{.keys = std::vector<double>(dim), .values = std::vector<double>(dim), .count = 0};
    const uint32_t end = table.slots_before(TokenPos(last));
    for (uint32_t slot = table.slots_before(TokenPos(first)); slot < end;) {
      const uint32_t from = slot % kPageSlots;
      const uint32_t to = std::min(kPageSlots, from + end - slot);
      LOCI_ASSERT(table.stripe_present(slot / kPageSlots), "what is dropped is there until the prompt's pass ends");
      const std::byte* page = table.page_of(SlotId(slot), of.head_index);
      decode.keys(layout, page, tile);
      for (size_t d = 0; d < dim; ++d) {
        for (uint32_t i = from; i < to; ++i) out.keys[d] += double{tile[d * kPageSlots + i]};
      }
      decode.values(layout, page, tile);
      for (uint32_t i = from; i < to; ++i) {
        for (size_t d = 0; d < dim; ++d) out.values[d] += double{tile[i * dim + d]};
      }
      out.count += to - from;
      slot += to - from;
    }
    return out;
  }

  // Keys as queries meet them.
  static std::vector<float> unrotated(const PageLayout& layout, const std::vector<double>& keys) {
    std::vector<float> out(keys.begin(), keys.end());
    if (layout.rotated) rotate_groups(out.data(), out.size());
    return out;
  }

  RazorOptions options_;
  std::vector<bool> full_;  // [layers * kv_heads]
  const ModelShape model_;
};

// Heads of both kinds. By their shares there are at least one of each; a ratio shares its heads out likewise.
std::vector<bool> retrieval_heads(const RazorOptions& options, std::span<const uint32_t> by_induction,
                                  std::span<const uint32_t> by_echo, const ModelShape& model) {
  const size_t heads = by_induction.size();
  size_t echo = count_from_above(options.echo, heads), all = 0;
  if (options.ratio > 0) {
    all = nearest_count(options.ratio, heads);
    const double shares = options.induction + options.echo;
    echo = shares > 0 ? nearest_count(options.echo / shares, all) : 0;
  }
  std::vector<bool> out(size_t{model.layers} * model.kv_heads);
  if (options.ratio == 0) {
    for (size_t i = 0; i < count_from_above(options.induction, heads); ++i) out[by_induction[i]] = true;
  }
  for (size_t i = 0; i < echo; ++i) out[by_echo[i]] = true;
  for (size_t i = 0, chosen = echo; chosen < all; ++i) {
    if (!out[by_induction[i]]) ++chosen;
    out[by_induction[i]] = true;
  }
  return out;
}

Result<std::unique_ptr<Retain>> make_razor(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<RazorOptions>();
  const bool wide = static_cast<uint64_t>(options.sinks + options.window) >= context.context;
  if (options.ratio == 1 || options.compression == 1 || wide) return std::make_unique<Retain>();
  const ModelShape& model = context.model;
  LOCI_TRY(const Profile profile, context.profile("razor", options.profile));
  LOCI_TRY(const std::vector<double> induction, by_kv_head(profile, "induction", model));
  LOCI_TRY(const std::vector<double> echo, by_kv_head(profile, "echo", model));
  std::vector<bool> full =
      retrieval_heads(options, ranked_heads(induction, {}, model), ranked_heads(echo, {}, model), model);
  return std::unique_ptr<Retain>(std::make_unique<Razor>(options, std::move(full), model));
}

constexpr std::string_view kWhyAlone =
    "razor's compensation entry stands for what the head drops, and would count "
    "what the other keeps a second time";

}  // namespace

const Method kRazor = {
    .name = "razor",
    .summary = "Retrieval heads keep everything; the others keep a prompt's ends, and one mean entry for the rest.",
    .stages = {Stage::kRetain},
    .parameters =
        {number<&RazorOptions::ratio>("ratio", {0, 1}, "",
                                      "share of the KV heads that keep everything; 0: induction and echo say it"),
         number<&RazorOptions::induction>("induction", {0, 1}, "", "share of the KV heads, best by induction"),
         number<&RazorOptions::echo>("echo", {0, 1}, "", "share of the KV heads, best by echo"),
         integer<&RazorOptions::window>("window", {1, 1 << 24}, "entries",
                                        "of a prompt's end that the other heads keep, at least"),
         integer<&RazorOptions::compression>("compression", {1, 1 << 20}, "",
                                             "the part of a prompt that they keep is one in so many, if that is more"),
         integer<&RazorOptions::sinks>("sinks", {0, 4096}, "entries", "that they keep at the beginning"),
         flag<&RazorOptions::compensation>("compensation", "the mean of what is dropped is kept as one entry"),
         text<&RazorOptions::profile>("profile", "the file of scores; auto: the shipped one")},
    .citation = "RazorAttention: Efficient KV Cache Compression Through Retrieval Heads, arXiv:2407.15891",
    .dense_when = "ratio = 1, compression = 1, or sinks + window >= context",
    .trial = "ratio=0.25,window=40,compression=64",
    .dense_trial = "ratio=1",
    .profile = "razor",
    .changes_prompt = never,
    .excludes = {{"streaming", kWhyAlone}, {"snapkv", kWhyAlone}, {"duo", kWhyAlone}, {"moa", kWhyAlone}},
    .make_retain = make_razor,
};

}  // namespace loci
