#include "calibrate/ablation.h"

#include <algorithm>
#include <cmath>

namespace loci {
namespace {

// Gives the heads of a choice what they would see through a pattern.
class StreamTap final : public Tap {
 public:
  StreamTap(const HeadChoice& streams, const Pattern& pattern) : streams_(streams), pattern_(pattern) {}

  void after_read(const View& view, Rows o, std::span<float> lse, TapReader& reader) override {
    const ModelShape& model = view.model;
    const auto streams = [&](KvHead head) { return streams_[size_t{view.layer.value} * model.kv_heads + head.value]; };
    const std::span<const Table> tables = view.tables();
    for (size_t t = 0; t < tables.size(); ++t) {
      const std::span<const KvHead> heads = tables[t].heads();
      if (std::none_of(heads.begin(), heads.end(), streams)) continue;
      narrow_.resize(size_t{o.rows} * o.width);
      narrow_lse_.resize(lse.size());
      const Rows narrow{narrow_.data(), o.rows, o.width, o.width};
      reader.read(t, pattern_, narrow, narrow_lse_);
      for (const KvHead head : heads) {
        if (streams(head)) copy_head(model, head, narrow, o);
      }
    }
  }

 private:
  static void copy_head(const ModelShape& model, KvHead head, const Rows& from, Rows to) {
    const size_t width = size_t{model.group()} * model.head_dim;
    for (uint32_t i = 0; i < to.rows; ++i)
      std::copy_n(from.row(i) + head.value * width, width, to.row(i) + head.value * width);
  }

  const HeadChoice& streams_;
  Pattern pattern_;
  std::vector<float> narrow_, narrow_lse_;
};

std::vector<float> log_softmax(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(double{x} - most);
  const double log_sum = most + std::log(sum);
  std::vector<float> out;
  out.reserve(logits.size());
  for (const float x : logits) out.push_back(static_cast<float>(x - log_sum));
  return out;
}

double divergence(std::span<const float> full, std::span<const float> changed) {
  double sum = 0;
  for (size_t i = 0; i < full.size(); ++i) sum += std::exp(double{full[i]}) * (double{full[i]} - changed[i]);
  return std::max(0.0, sum);
}

}  // namespace

HeadChoice open_heads(const ModelShape& model) {
  HeadChoice out;
  for (uint32_t l = 0; l < model.layers; ++l) out.insert(out.end(), model.kv_heads, model.open(LayerId(l)));
  return out;
}

Result<std::unique_ptr<Ablation>> Ablation::make(Subject& subject, const Needle& needle, const Options& options,
                                                 const Cancelled& cancelled) {
  Sequence context = subject.begin(needle.prompt);
  LOCI_CHECK(subject.feed(context, needle.question - std::min(needle.question - 1, options.text_rows), cancelled));
  Sequence asked = context.fork();
  LOCI_TRY(const std::vector<TokenId> answer, subject.answer(asked, options.answer_tokens, cancelled));
  auto out = std::unique_ptr<Ablation>(new Ablation(subject, std::move(context)));
  out->found_ = recall(needle, answer) > kEnoughRecall;
  if (!out->found_) return out;
  out->question_ = needle.question;
  out->answer_begins_ = static_cast<uint32_t>(needle.prompt.size());
  out->context_.tokens.insert(out->context_.tokens.end(), answer.begin(), answer.end());
  LOCI_CHECK(out->judged_rows(cancelled, [&](uint32_t position, std::span<const float> logits) {
    (position < out->question_ ? out->text_ : out->full_).push_back(log_softmax(logits));
  }));
  return out;
}

// Feeds what follows the context; hands out the logits of the text's rows and those that foretell the answer's tokens.
Status Ablation::judged_rows(const Cancelled& cancelled, const Subject::OnRow& on_row) {
  Sequence sequence = context_.fork();
  const uint32_t begin = sequence.cache.tokens(), end = static_cast<uint32_t>(sequence.tokens.size()) - 1;
  if (begin < question_) LOCI_CHECK(subject_.feed(sequence, question_, cancelled, begin, on_row));
  return subject_.feed(sequence, end, cancelled, answer_begins_ - 1, on_row);
}

Result<double> Ablation::loss(const HeadChoice& streams, const Pattern& pattern, const Cancelled& cancelled) {
  LOCI_ASSERT(found_, "only an answer that was found has a loss");
  StreamTap tap(streams, pattern);
  subject_.listen(&tap);
  double text = 0, answer = 0;
  size_t row = 0;
  const Status done = judged_rows(cancelled, [&](uint32_t, std::span<const float> logits) {
    const bool of_text = row < text_.size();
    const std::vector<float>& full = of_text ? text_[row] : full_[row - text_.size()];
    (of_text ? text : answer) += divergence(full, log_softmax(logits));
    ++row;
  });
  subject_.listen(nullptr);
  LOCI_CHECK(done);
  answer /= static_cast<double>(full_.size());
  return text_.empty() ? answer : answer + text / static_cast<double>(text_.size());
}

Result<Ablation::HeadLoss> Ablation::loss_of(size_t head, const HeadChoice& open, double all, const Pattern& pattern,
                                             const Cancelled& cancelled) {
  HeadChoice alone(open.size()), others = open;
  alone[head] = true;
  others[head] = false;
  HeadLoss out;
  LOCI_TRY(out.alone, loss(alone, pattern, cancelled));
  LOCI_TRY(const double rest, loss(others, pattern, cancelled));
  out.last = std::max(0.0, all - rest);
  return out;
}

}  // namespace loci
