#include "calibrate/moa.h"

#include <algorithm>
#include <array>

#include "calibrate/span_rules.h"

namespace loci {
namespace {

constexpr uint32_t kSinks = 64;  // within the span

class Moa final : public Calibration {
 public:
  Moa(Subject& subject, std::vector<Needle> needles, MoaOptions options)
      : subject_(subject),
        needles_(std::move(needles)),
        options_(std::move(options)),
        open_(open_heads(subject.shape())) {}

  std::string_view kind() const override { return "moa"; }
  uint32_t pieces() const override { return static_cast<uint32_t>(needles_.size()); }
  std::map<std::string, double> settings() const override { return options_.settings; }

  // By KV head, what spans of 1, 2, ... 7 eighths of the length cost. Nothing if the needle was not found.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) override {
    LOCI_TRY(const std::unique_ptr<Ablation> ablation,
             Ablation::make(subject_, needles_[index], options_.judged, cancelled));
    if (!ablation->found()) return std::vector<double>();
    const auto length = static_cast<uint32_t>(needles_[index].prompt.size());
    constexpr size_t kShort = kSpanSteps - 1;  // spans that lose something
    std::vector<double> out(open_.size() * kShort);
    for (uint32_t step = 1; step < kSpanSteps; ++step) {
      const uint32_t span = std::max(kSinks + 1, length * step / kSpanSteps);
      const Pattern pattern{.sinks = kSinks, .window = span - kSinks};
      LOCI_TRY(const double all, ablation->loss(open_, pattern, cancelled));
      for (size_t h = 0; h < open_.size(); ++h) {
        progress((step - 1 + static_cast<double>(h) / static_cast<double>(open_.size())) / kShort);
        if (!open_[h]) continue;
        LOCI_TRY(const Ablation::HeadLoss loss, ablation->loss_of(h, open_, all, pattern, cancelled));
        out[h * kShort + step - 1] = (loss.alone + loss.last) / 2;
      }
    }
    return out;
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    const std::vector<double> losses[2] = {mean(pieces, 0), mean(pieces, 1)};
    if (losses[0].empty() || losses[1].empty()) {
      return fail(ErrorCode::kUnsupported,
                  "the model found no needle at {} or at {} tokens, so no span can be judged: take shorter prompts "
                  "(--length)",
                  options_.shorter, 2 * options_.shorter);
    }
    const SpanProblem problem = this->problem(losses);
    const std::vector<uint32_t> chosen = choose_rules(problem);
    const ModelShape& model = subject_.shape();
    Profile out;
    out.layers = model.layers;
    out.heads = model.kv_heads;
    std::vector<double>& alpha = out.values["alpha"];
    std::vector<double>& beta = out.values["beta"];
    size_t next = 0;
    for (const bool open : open_) {
      const SpanRule rule = open ? problem.rules[chosen[next++]] : SpanRule{};
      alpha.push_back(rule.alpha);
      beta.push_back(rule.beta);
    }
    return out;
  }

 private:
  std::array<double, 2> lengths() const { return {1.0 * options_.shorter, 2.0 * options_.shorter}; }

  // Over the needles of one length that were found.
  std::vector<double> mean(std::span<const std::vector<double>> pieces, size_t length) const {
    std::vector<double> sum;
    double found = 0;
    for (size_t i = length; i < pieces.size(); i += 2) {
      if (pieces[i].empty()) continue;
      ++found;
      sum.resize(pieces[i].size());
      for (size_t k = 0; k < sum.size(); ++k) sum[k] += pieces[i][k];
    }
    for (double& value : sum) value /= found;
    return sum;
  }

  // Of the open layers alone.
  SpanProblem problem(const std::vector<double> (&losses)[2]) const {
    const ModelShape& model = subject_.shape();
    SpanProblem out{.layers = 0,
                    .heads = model.kv_heads,
                    .lengths = {lengths()[0], lengths()[1]},
                    .bound = options_.density,
                    .rules = candidate_rules(options_.shorter),
                    .losses = {}};
    for (uint32_t l = 0; l < model.layers; ++l) out.layers += model.open(LayerId(l)) ? 1 : 0;
    for (size_t n = 0; n < 2; ++n) {
      for (size_t h = 0; h < open_.size(); ++h) {
        if (!open_[h]) continue;
        for (const SpanRule& rule : out.rules) {
          const auto step = static_cast<size_t>(rule.span(out.lengths[n]) / out.lengths[n] * kSpanSteps + 0.5);
          out.losses.push_back(step >= kSpanSteps ? 0 : losses[n][h * (kSpanSteps - 1) + step - 1]);
        }
      }
    }
    return out;
  }

  Subject& subject_;
  std::vector<Needle> needles_;
  MoaOptions options_;
  HeadChoice open_;
};

}  // namespace

std::unique_ptr<Calibration> moa(Subject& subject, std::vector<Needle> needles, MoaOptions options) {
  return std::make_unique<Moa>(subject, std::move(needles), std::move(options));
}

}  // namespace loci
