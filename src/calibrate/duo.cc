#include "calibrate/duo.h"

#include <algorithm>

namespace loci {
namespace {

class Duo final : public Calibration {
 public:
  Duo(Subject& subject, std::vector<Needle> needles, DuoOptions options)
      : subject_(subject),
        needles_(std::move(needles)),
        options_(std::move(options)),
        open_(open_heads(subject.shape())) {}

  std::string_view kind() const override { return "duo"; }
  uint32_t pieces() const override { return static_cast<uint32_t>(needles_.size()); }
  std::map<std::string, double> settings() const override { return options_.settings; }

  // By KV head: the loss if it alone streams, and what the loss of all is less if it alone does not. Nothing if the
  // model did not find the needle.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) override {
    LOCI_TRY(const std::unique_ptr<Ablation> ablation,
             Ablation::make(subject_, needles_[index], {.answer_tokens = options_.answer_tokens}, cancelled));
    if (!ablation->found()) return std::vector<double>();
    const size_t heads = open_.size();
    LOCI_TRY(const double all, ablation->loss(open_, options_.pattern, cancelled));
    std::vector<double> out(2 * heads);
    for (size_t h = 0; h < heads; ++h) {
      progress(static_cast<double>(h + 1) / static_cast<double>(heads + 1));
      if (!open_[h]) continue;
      LOCI_TRY(const Ablation::HeadLoss loss, ablation->loss_of(h, open_, all, options_.pattern, cancelled));
      out[h] = loss.alone;
      out[heads + h] = loss.last;
    }
    return out;
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    const size_t heads = open_.size();
    std::vector<double> alone(heads), last(heads), gate(heads);
    double found = 0;
    for (const std::vector<double>& piece : pieces) {
      if (piece.empty()) continue;
      ++found;
      for (size_t h = 0; h < heads; ++h) {
        alone[h] += piece[h];
        last[h] += piece[heads + h];
      }
    }
    if (found == 0) {
      return fail(ErrorCode::kUnsupported,
                  "the model found none of {} needles, so no head can be missed: take shorter prompts (--length)",
                  pieces.size());
    }
    double most = 0;
    for (size_t h = 0; h < heads; ++h) {
      alone[h] /= found;
      last[h] /= found;
      gate[h] = (alone[h] + last[h]) / 2;
      most = std::max(most, gate[h]);
    }
    for (double& g : gate) g = most > 0 ? g / most : 0;
    Profile out;
    out.layers = subject_.shape().layers;
    out.heads = subject_.shape().kv_heads;
    out.settings["found"] = found;
    out.values = {{"gate", std::move(gate)}, {"alone", std::move(alone)}, {"last", std::move(last)}};
    return out;
  }

 private:
  Subject& subject_;
  std::vector<Needle> needles_;
  DuoOptions options_;
  HeadChoice open_;
};

}  // namespace

std::unique_ptr<Calibration> duo(Subject& subject, std::vector<Needle> needles, DuoOptions options) {
  return std::make_unique<Duo>(subject, std::move(needles), std::move(options));
}

}  // namespace loci
