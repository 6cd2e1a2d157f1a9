// MoA: each head keeps attention sinks and a window whose span grows with the sequence by a rule of its own. Fu et al.,
// MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression, arXiv:2406.14909 (v3: Mixture of
// Attention Spans), section 3.
//
// The span of a head at a total length N, fixed when a request begins: alpha + beta N, at most N, at least two blocks
// of 64, in whole blocks, the block of sinks among them. While a prompt is read the window moves in blocks: block b
// reads block 0 and the span's other blocks up to its own. In answers it moves by entries.
#include <algorithm>
#include <cmath>

#include "attention/retain/head_ranking.h"
#include "attention/retain/retain.h"
#include "base/checked.h"

namespace loci {
namespace {

constexpr uint32_t kBlock = 64;
constexpr double kMostAlpha = 1 << 24;

struct MoaOptions {
  std::string profile = "auto";
};

struct SpanRule {
  double alpha = 0;  // tokens
  double beta = 0;   // share of the length

  // Entries that a head keeps of a sequence of `total`, its sinks included.
  uint64_t span(uint32_t total) const {
    const double wanted = std::min(alpha + beta * total, static_cast<double>(total));
    return round_up(static_cast<uint64_t>(std::max<double>(2 * kBlock, std::floor(wanted))), kBlock);
  }
  bool operator==(const SpanRule&) const = default;
};

class Moa final : public Retain {
 public:
  Moa(std::vector<SpanRule> rules, uint32_t kv_heads) : rules_(std::move(rules)), kv_heads_(kv_heads) {}

  Pattern pattern(LayerId layer, KvHead head, Phase phase, const RequestFacts& facts) const override {
    const uint64_t span = rule(layer, head).span(facts.total_tokens);
    if (span >= facts.total_tokens) return {};
    return {.sinks = kBlock,
            .window = static_cast<uint32_t>(span) - kBlock,
            .granule = phase == Phase::kPrefill ? kBlock : 1};
  }
  // The layer's first head of the same rule.
  uint32_t head_class(LayerId layer, KvHead head) const override {
    uint32_t first = 0;
    while (!(rule(layer, KvHead(first)) == rule(layer, head))) ++first;
    return first;
  }

 private:
  const SpanRule& rule(LayerId layer, KvHead head) const {
    return rules_[size_t{layer.value} * kv_heads_ + head.value];
  }

  std::vector<SpanRule> rules_;  // [layers * kv_heads]
  uint32_t kv_heads_;
};

Result<std::unique_ptr<Retain>> make_moa(const MethodCall& call, const MethodContext& context) {
  const auto options = call.as<MoaOptions>();
  const ModelShape& model = context.model;
  LOCI_TRY(const Profile profile, context.profile("moa", options.profile));
  LOCI_TRY(const std::vector<double> alpha, by_kv_head(profile, "alpha", model));
  LOCI_TRY(const std::vector<double> beta, by_kv_head(profile, "beta", model));
  std::vector<SpanRule> rules;
  for (size_t i = 0; i < alpha.size(); ++i) {
    if (std::abs(alpha[i]) > kMostAlpha || beta[i] < 0 || beta[i] > 1) {
      return fail(ErrorCode::kCorrupt,
                  "profile 'moa' gives head {} of layer {} the span {} + {} N, but the first number must lie in "
                  "-{}..{} and the second in 0..1; make the profile anew",
                  i % model.kv_heads, i / model.kv_heads, alpha[i], beta[i], kMostAlpha, kMostAlpha);
    }
    rules.push_back({alpha[i], beta[i]});
  }
  return std::unique_ptr<Retain>(std::make_unique<Moa>(std::move(rules), model.kv_heads));
}

}  // namespace

const Method kMoa = {
    .name = "moa",
    .summary = "A head keeps the first entries and a window whose span grows with the length by the head's own rule.",
    .stages = {Stage::kRetain},
    .parameters = {text<&MoaOptions::profile>("profile", "the file of rules; auto: the shipped one")},
    .citation = "MoA: Mixture of Sparse Attention for Automatic Large Language Model Compression, arXiv:2406.14909",
    .trial = "profile=auto",
    .profile = "moa",
    .request = {RequestData::kTotalLength},
    .make_retain = make_moa,
};

}  // namespace loci
