// PH3: heads that carry the unwanted side of a conflict between the context and what the model remembers are cut off.
// Jin et al., Cutting Off the Head Ends the Conflict: A Mechanism for Interpreting and Mitigating Knowledge Conflicts
// in Language Models, arXiv:2402.18154, section 5.
//
// The output of a pruned head is zero before the output projection, in all rows: o_h = g_h * o_h with g in {0, 1}.
#include <algorithm>
#include <numeric>

#include "attention/mix/head_list.h"
#include "attention/mix/mix.h"
#include "io/profile.h"

namespace loci {
namespace {

enum class Trust : uint8_t { kContext, kMemory };

struct Ph3Options {
  Trust use = Trust::kContext;
  int64_t k = 3;
  std::string heads = "auto";
  std::string profile = "auto";
};

class Ph3 final : public Mix {
 public:
  explicit Ph3(HeadSet pruned) : pruned_(std::move(pruned)) {}

  void after_read(const View& view, std::span<const QueryHead> heads, Rows o, std::span<const float>) const override {
    const uint32_t dim = view.model.head_dim;
    for (const QueryHead head : heads) {
      if (!pruned_.has(view.layer, head)) continue;
      for (uint32_t i = 0; i < o.rows; ++i) std::fill_n(o.row(i) + size_t{head.value} * dim, dim, 0.0F);
    }
  }

  bool cuts_off(LayerId layer, QueryHead head) const override { return pruned_.has(layer, head); }

 private:
  HeadSet pruned_;
};

// To trust the context, the k heads that write the memory most are pruned, and the other way round.
Result<HeadSet> ranked_heads(const Ph3Options& options, const MethodContext& context) {
  const ModelShape& model = context.model;
  LOCI_TRY(const Profile profile, context.profile("ph3", options.profile));
  if (profile.layers != model.layers || profile.heads != model.query_heads) {
    return fail(ErrorCode::kInvalidArgument, "profile 'ph3' is for {} layers of {} heads, the model has {} of {}",
                profile.layers, profile.heads, model.layers, model.query_heads);
  }
  LOCI_TRY(const std::span<const double> scores, profile.table(options.use == Trust::kContext ? "memory" : "context"));
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  HeadSet out(model);
  for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(options.k)); ++i) {
    if (scores[order[i]] <= 0) break;  // carries nothing of that side
    out.add(LayerId(order[i] / model.query_heads), QueryHead(order[i] % model.query_heads));
  }
  return out;
}

Result<std::unique_ptr<Mix>> make_ph3(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<Ph3Options>();
  HeadSet pruned(context.model);
  if (options.heads != "auto") {
    LOCI_TRY(pruned, HeadSet::parse(options.heads, context.model));
  } else if (options.k > 0) {
    LOCI_TRY(pruned, ranked_heads(options, context));
  }
  if (pruned.empty()) return std::unique_ptr<Mix>(std::make_unique<NoMix>());
  return std::unique_ptr<Mix>(std::make_unique<Ph3>(std::move(pruned)));
}

}  // namespace

const Method kPh3 = {
    .name = "ph3",
    .summary = "Heads that carry the unwanted side of a conflict between context and memory are cut off.",
    .stages = {Stage::kMix},
    .parameters = {choice<&Ph3Options::use>("use", {"context", "memory"}, "the side that is to win"),
                   integer<&Ph3Options::k>("k", {0, 4096}, "heads", "of the other side that are cut off"),
                   text<&Ph3Options::heads>("heads",
                                            "query heads to cut off, as 4.0+5.3, all or none; auto: by the profile"),
                   text<&Ph3Options::profile>("profile", "the file of scores; auto: the shipped one")},
    .citation =
        "Cutting Off the Head Ends the Conflict: A Mechanism for Interpreting and Mitigating Knowledge "
        "Conflicts in Language Models, arXiv:2402.18154",
    .dense_when = "k=0 or heads=none",
    .trial = "heads=4.0+5.3",
    .dense_trial = "heads=none",
    .profile = "ph3",
    .make_mix = make_ph3,
};

}  // namespace loci
