// DuoAttention: some KV heads, the retrieval heads, keep everything; the others keep attention sinks and a window of
// recent entries. Xiao et al., DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads,
// arXiv:2410.10819, section 2.
//
// Which heads: those with the highest gates, over all layers together, where a gate was learned as the weight of full
// attention beside streaming attention. Without learned gates the scores of the retrieval-heads probe stand in, equal
// ones ordered by the mass on the needle.
//
// Streaming heads, a query at i: positions j < sinks, j >= i - window. While a prompt is read the paper's chunk is part
// of the definition: all rows of a chunk see `window` entries before it and the chunk up to themselves. Here chunks
// stand on an absolute grid; 1 is the strict window.
#include "attention/retain/head_ranking.h"
#include "attention/retain/retain.h"

namespace loci {
namespace {

enum class DuoPrefill : uint8_t { kStream, kDense };
enum class DuoSource : uint8_t { kAuto, kGates, kRetrieval };

struct DuoOptions {
  double ratio = 0.5;
  int64_t sinks = 64;
  int64_t window = 256;
  DuoPrefill prefill = DuoPrefill::kStream;
  int64_t chunk = 1;
  DuoSource source = DuoSource::kAuto;
  std::string profile = "auto";
};

class Duo final : public Retain {
 public:
  Duo(const DuoOptions& options, std::vector<bool> full, uint32_t kv_heads)
      : full_(std::move(full)), kv_heads_(kv_heads) {
    const auto sinks = static_cast<uint32_t>(options.sinks), window = static_cast<uint32_t>(options.window),
               chunk = static_cast<uint32_t>(options.chunk);
    decode_ = {.sinks = sinks, .window = window + 1};
    if (options.prefill == DuoPrefill::kStream) prefill_ = {.sinks = sinks, .window = window + chunk, .granule = chunk};
  }

  Pattern pattern(LayerId layer, KvHead head, Phase phase, const RequestFacts&) const override {
    if (full(layer, head)) return {};
    return phase == Phase::kPrefill ? prefill_ : decode_;
  }
  uint32_t head_class(LayerId layer, KvHead head) const override { return full(layer, head) ? 0 : 1; }

 private:
  bool full(LayerId layer, KvHead head) const { return full_[size_t{layer.value} * kv_heads_ + head.value]; }

  std::vector<bool> full_;  // [layers * kv_heads]
  uint32_t kv_heads_;
  Pattern prefill_, decode_;
};

// Learned gates if there are any, otherwise the probe's scores, if the source may be either.
Result<Profile> find_heads(const DuoOptions& options, const MethodContext& context) {
  if (options.source == DuoSource::kRetrieval) return context.profile("retrieval-heads", options.profile);
  Result<Profile> gates = context.profile("duo", options.profile);
  if (gates.ok() || options.source == DuoSource::kGates) return gates;
  Result<Profile> probe = context.profile("retrieval-heads", options.profile);
  if (probe.ok() || options.profile == "auto") return probe.ok() ? std::move(probe) : std::move(gates);
  if (gates.error().message == probe.error().message) return gates;
  return fail(gates.error().code, "{}; and as the probe's scores: {}", gates.error().message, probe.error().message);
}

Result<std::vector<uint32_t>> rank(const Profile& profile, const ModelShape& model) {
  if (profile.kind == "duo") {
    LOCI_TRY(const std::vector<double> gates, by_kv_head(profile, "gate", model));
    return ranked_heads(gates, {}, model);
  }
  LOCI_TRY(const std::vector<double> scores, by_kv_head(profile, "retrieval", model));
  LOCI_TRY(const std::vector<double> mass, by_kv_head(profile, "mass", model));
  return ranked_heads(scores, mass, model);
}

Result<std::unique_ptr<Retain>> make_duo(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<DuoOptions>();
  const bool wide = static_cast<uint64_t>(options.sinks + options.window) >= context.context;
  if (options.ratio == 1 || wide) return std::make_unique<Retain>();
  const ModelShape& model = context.model;
  LOCI_TRY(const Profile profile, find_heads(options, context));
  LOCI_TRY(const std::vector<uint32_t> ranked, rank(profile, model));
  const uint32_t count = nearest_count(options.ratio, ranked.size());
  if (count == ranked.size()) return std::make_unique<Retain>();
  std::vector<bool> full(size_t{model.layers} * model.kv_heads);
  for (uint32_t i = 0; i < count; ++i) full[ranked[i]] = true;
  return std::unique_ptr<Retain>(std::make_unique<Duo>(options, std::move(full), model.kv_heads));
}

// With a dense prefill nothing changes before the prompt ends.
bool duo_changes_prompt(const MethodCall& call) {
  const auto options = call.as<DuoOptions>();
  return options.prefill == DuoPrefill::kStream && options.ratio < 1;
}

}  // namespace

const Method kDuo = {
    .name = "duo",
    .summary = "Some KV heads keep everything, the others the first entries and the last ones.",
    .stages = {Stage::kRetain},
    .parameters =
        {number<&DuoOptions::ratio>("ratio", {0, 1}, "",
                                    "share of the KV heads that keep everything, over all layers together"),
         integer<&DuoOptions::sinks>("sinks", {0, 4096}, "entries", "that the other heads keep at the beginning"),
         integer<&DuoOptions::window>("window", {1, 1 << 24}, "entries",
                                      "that they keep at the end, a query's own aside"),
         choice<&DuoOptions::prefill>("prefill", {"stream", "dense"},
                                      "whether they read only that of a prompt too, or everything until it ends"),
         integer<&DuoOptions::chunk>("chunk", {1, 1 << 20}, "tokens",
                                     "of a prompt that see the same window, and their own chunk on top"),
         choice<&DuoOptions::source>("source", {"auto", "gates", "retrieval"},
                                     "what ranks the heads: learned gates, the probe's scores, or the first there is"),
         text<&DuoOptions::profile>("profile", "the file of gates or scores; auto: the shipped one")},
    .citation =
        "DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads, "
        "arXiv:2410.10819",
    .dense_when = "ratio = 1, or sinks + window >= context",
    .trial = "ratio=0.25,sinks=4,window=40",
    .dense_trial = "ratio=1",
    .profile = "duo",
    .changes_prompt = duo_changes_prompt,
    .make_retain = make_duo,
};

}  // namespace loci
