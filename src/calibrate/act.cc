#include "calibrate/act.h"

#include <algorithm>
#include <cmath>

#include "attention/mix/mix.h"
#include "io/profile.h"

namespace loci {
namespace {

// Layers that the paper leaves out: the first two and the last.
bool calibrated(const ModelShape& model, LayerId layer) {
  return layer.value >= 2 && layer.value + 1 < model.layers && model.open(layer);
}

// Notes the sinks of all heads, or lets ACT act in one.
class ActTap final : public Tap {
 public:
  ActTap(const Mix& mix, const ModelShape& model, Workspace scratch) : mix_(mix), scratch_(std::move(scratch)) {
    for (uint32_t h = 0; h < model.query_heads; ++h) all_.push_back(QueryHead(h));
  }

  void note_sinks() { act_ = false; }
  void act_in(LayerId layer, QueryHead head) {
    act_ = true;
    layer_ = layer;
    head_ = head;
  }

  void after_read(const View& seen, Rows o, std::span<float> lse, TapReader&) override {
    if (!calibrated(seen.model, seen.layer)) return;
    OpContext ops{seen.ops.pool, seen.ops.isa, scratch_};
    View view = with_scratch(seen, ops);
    if (!act_) {
      copy_.assign(o.data, o.data + size_t{o.rows} * o.stride);
      mix_.after_read(view, all_, {copy_.data(), o.rows, o.width, o.stride}, lse);
    } else if (seen.layer == layer_) {
      view.phase = Phase::kDecode;  // go on with the context's sinks
      mix_.after_read(view, {&head_, 1}, o, lse);
    }
  }

 private:
  const Mix& mix_;
  Workspace scratch_;
  std::vector<QueryHead> all_;
  bool act_ = false;
  LayerId layer_{0};
  QueryHead head_{0};
  std::vector<float> copy_;
};

class ActCalibration final : public Calibration {
 public:
  ActCalibration(Subject& subject, std::unique_ptr<Mix> mix, std::vector<Needle> needles,
                 std::map<std::string, double> settings)
      : subject_(subject), mix_(std::move(mix)), needles_(std::move(needles)), settings_(std::move(settings)) {}

  std::string_view kind() const override { return "act"; }
  uint32_t pieces() const override { return static_cast<uint32_t>(needles_.size()); }
  std::map<std::string, double> settings() const override { return settings_; }

  // By query head, the mean log-probability that ACT in this head alone adds.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) override {
    const ModelShape& model = subject_.shape();
    const StageBounds bounds{
        .rows = subject_.core().layout().pass_rows, .tokens = subject_.context(), .threads = subject_.workers()};
    LOCI_TRY(Workspace scratch, Workspace::allocate(mix_->scratch_bytes(bounds)));
    ActTap tap(*mix_, model, std::move(scratch));
    const Needle& needle = needles_[index];
    Sequence context = subject_.begin(needle.prompt);
    const auto first = needle.prompt.begin() + needle.first;
    context.tokens.insert(context.tokens.end(), first, first + needle.count);
    subject_.listen(&tap);
    const Status read = subject_.feed(context, needle.question, cancelled);
    subject_.listen(nullptr);
    LOCI_CHECK(read);

    LOCI_TRY(const double plain, log_probability(context, needle, cancelled));
    const size_t heads = size_t{model.layers} * model.query_heads;
    std::vector<double> out(heads);
    for (size_t h = 0; h < heads; ++h) {
      progress(static_cast<double>(h) / static_cast<double>(heads));
      const LayerId layer(static_cast<uint32_t>(h / model.query_heads));
      if (!calibrated(model, layer)) continue;
      tap.act_in(layer, QueryHead(static_cast<uint32_t>(h % model.query_heads)));
      subject_.listen(&tap);
      const Result<double> changed = log_probability(context, needle, cancelled);
      subject_.listen(nullptr);
      if (!changed.ok()) return changed.error();
      out[h] = *changed - plain;
    }
    return out;
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    Profile out;
    out.layers = subject_.shape().layers;
    out.heads = subject_.shape().query_heads;
    std::vector<double> gain(size_t{out.layers} * out.heads);
    for (const std::vector<double>& piece : pieces) {
      for (size_t h = 0; h < gain.size(); ++h) gain[h] += piece[h] / static_cast<double>(pieces.size());
    }
    out.values["gain"] = std::move(gain);
    return out;
  }

 private:
  // Of the needle's tokens as the answer, on the mean.
  Result<double> log_probability(const Sequence& context, const Needle& needle, const Cancelled& cancelled) {
    Sequence sequence = context.fork();
    const auto from = static_cast<uint32_t>(needle.prompt.size()) - 1;
    double sum = 0;
    LOCI_CHECK(subject_.feed(sequence, from + needle.count, cancelled, from,
                             [&](uint32_t position, std::span<const float> logits) {
                               sum += log_softmax_at(logits, sequence.tokens[position + 1]);
                             }));
    return sum / needle.count;
  }

  static double log_softmax_at(std::span<const float> logits, TokenId token) {
    const float most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp(double{x} - most);
    return logits[token] - most - std::log(sum);
  }

  Subject& subject_;
  std::unique_ptr<Mix> mix_;
  std::vector<Needle> needles_;
  std::map<std::string, double> settings_;
};

}  // namespace

Result<std::unique_ptr<Calibration>> act(Subject& subject, std::vector<Needle> needles,
                                         std::map<std::string, double> settings) {
  MethodCall call = kAct.call();
  for (size_t i = 0; i < call.values.size(); ++i) {
    if (kAct.parameters[i].name == "heads") call.values[i] = std::string("all");
  }
  const MethodContext context{
      .model = subject.shape(), .context = subject.context(), .profile = [](std::string_view, const std::string& name) {
        return Result<Profile>(fail(ErrorCode::kNotFound, "'{}' is not looked for: all heads are tried", name));
      }};
  LOCI_TRY(std::unique_ptr<Mix> mix, kAct.make_mix(call, context));
  return std::unique_ptr<Calibration>(
      std::make_unique<ActCalibration>(subject, std::move(mix), std::move(needles), std::move(settings)));
}

}  // namespace loci
