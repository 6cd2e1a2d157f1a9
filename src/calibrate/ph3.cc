#include "calibrate/ph3.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace loci {
namespace {

// All heads' outputs of one row, layer by layer: [layers][query_heads * head_dim].
using Outputs = std::vector<std::vector<float>>;

// Notes the outputs of single rows, or puts others in their place.
class PatchTap final : public Tap {
 public:
  explicit PatchTap(const ModelShape& model) : seen_(model.layers) {}

  void replace(const Outputs* outputs) { outputs_ = outputs; }
  const Outputs& seen() const { return seen_; }

  void after_read(const View& view, Rows o, std::span<float>, TapReader&) override {
    if (o.rows != 1) return;
    if (outputs_ == nullptr) {
      seen_[view.layer.value].assign(o.row(0), o.row(0) + o.width);
    } else {
      std::copy_n((*outputs_)[view.layer.value].data(), o.width, o.row(0));
    }
  }

 private:
  Outputs seen_;
  const Outputs* outputs_ = nullptr;
};

struct Answers {
  double memory = 0, context = 0;  // probabilities
};

class Ph3 final : public Calibration {
 public:
  Ph3(Subject& subject, std::vector<Fact> facts, Ph3Calibration options)
      : subject_(subject), facts_(std::move(facts)), options_(std::move(options)) {}

  std::string_view kind() const override { return "ph3"; }
  uint32_t pieces() const override { return options_.prompts; }
  std::map<std::string, double> settings() const override { return options_.settings; }

  // By head, what patching it does to the probabilities of the remembered and of the given answer. Nothing if the model
  // does not know the fact.
  Result<std::vector<double>> run(uint32_t index, const Cancelled& cancelled, const OnShare& progress) override {
    const Conflict conflict = draw(index);
    LOCI_TRY(const TokenId memory, first_token(conflict.fact.object));
    LOCI_TRY(const TokenId context, first_token(conflict.wrong));
    LOCI_TRY(const TokenId known, likeliest(about(conflict.fact.subject), cancelled));
    if (memory == context || known != memory) return std::vector<double>();

    LOCI_TRY(Sequence clean, open(conflicting(conflict.fact.subject, conflict.wrong), cancelled));
    LOCI_TRY(Sequence other, open(conflicting(conflict.other, conflict.other_wrong), cancelled));
    const auto last = [&](Sequence& sequence, const Outputs* outputs, Outputs* seen) {
      return last_row(sequence, outputs, seen, memory, context, cancelled);
    };
    Outputs of_clean, of_other;
    LOCI_TRY(const Answers before, last(clean, nullptr, &of_clean));
    LOCI_TRY(const Answers unused, last(other, nullptr, &of_other));
    static_cast<void>(unused);
    return patch_all(of_clean, of_other, before, progress, [&](const Outputs& o) { return last(clean, &o, nullptr); });
  }

  Result<Profile> conclude(std::span<const std::vector<double>> pieces) const override {
    Profile out;
    out.layers = subject_.shape().layers;
    out.heads = subject_.shape().query_heads;
    const size_t heads = size_t{out.layers} * out.heads;
    std::vector<double> memory(heads), context(heads);
    double known = 0;
    for (const std::vector<double>& piece : pieces) {
      if (piece.empty()) continue;
      ++known;
      for (size_t h = 0; h < heads; ++h) memory[h] += piece[heads + h] - piece[h];
    }
    if (known == 0) {
      return fail(ErrorCode::kUnsupported,
                  "the model knows none of {} facts by heart, so nothing contradicts its memory: this model has no "
                  "ph3 profile",
                  pieces.size());
    }
    for (size_t h = 0; h < heads; ++h) {
      memory[h] /= known;
      context[h] = -memory[h];
    }
    out.settings["known"] = known;
    out.values = {{"memory", std::move(memory)}, {"context", std::move(context)}};
    return out;
  }

 private:
  struct Conflict {
    Fact fact;
    std::string wrong, other, other_wrong;
  };

  Conflict draw(uint32_t index) const {
    std::vector<Fact> facts = facts_;
    std::mt19937_64 random(options_.seed * 1000003 + index / facts.size());
    for (size_t i = 0; i + 1 < facts.size(); ++i) std::swap(facts[i], facts[i + random() % (facts.size() - i)]);
    const auto at = [&](size_t k) -> const Fact& { return facts[(index + k) % facts.size()]; };
    return {at(0), at(1).object, at(2).subject, at(3).object};
  }

  std::string about(const std::string& who) const {
    std::string text = options_.relation;
    return text.replace(text.find("{}"), 2, who);
  }
  std::string conflicting(const std::string& who, const std::string& object) const {
    return fmt::format("{} {}. {}", about(who), object, about(who));
  }

  Result<TokenId> first_token(const std::string& object) const {
    LOCI_TRY(const std::vector<TokenId> ids, subject_.tokenizer().encode(" " + object, {.add_special = false}));
    if (ids.empty()) return fail(ErrorCode::kUnsupported, "the vocabulary has no token for '{}'", object);
    return ids.front();
  }

  Result<TokenId> likeliest(const std::string& text, const Cancelled& cancelled) {
    LOCI_TRY(Sequence sequence, open(text, cancelled));
    return subject_.step(sequence, cancelled);
  }

  // The text fed but for its last token.
  Result<Sequence> open(const std::string& text, const Cancelled& cancelled) {
    LOCI_TRY(std::vector<TokenId> tokens, subject_.tokenizer().encode(text));
    Sequence sequence = subject_.begin(std::move(tokens));
    LOCI_CHECK(subject_.feed(sequence, static_cast<uint32_t>(sequence.tokens.size()) - 1, cancelled));
    return sequence;
  }

  // Feeds the last token to a fork, with other outputs of its heads if there are some.
  Result<Answers> last_row(const Sequence& sequence, const Outputs* outputs, Outputs* seen, TokenId memory,
                           TokenId context, const Cancelled& cancelled) {
    Sequence fork = sequence.fork();
    PatchTap tap(subject_.shape());
    tap.replace(outputs);
    subject_.listen(&tap);
    Answers out;
    const auto end = static_cast<uint32_t>(fork.tokens.size());
    const Status done = subject_.feed(fork, end, cancelled, end - 1, [&](uint32_t, std::span<const float> logits) {
      const float most = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const float x : logits) sum += std::exp(double{x} - most);
      out.memory = std::exp(double{logits[memory]} - most) / sum;
      out.context = std::exp(double{logits[context]} - most) / sum;
    });
    subject_.listen(nullptr);
    LOCI_CHECK(done);
    if (seen != nullptr) *seen = tap.seen();
    return out;
  }

  template <typename LastRow>
  Result<std::vector<double>> patch_all(const Outputs& clean, const Outputs& other, const Answers& before,
                                        const OnShare& progress, const LastRow& last_row_with) {
    const ModelShape& model = subject_.shape();
    const size_t heads = size_t{model.layers} * model.query_heads;
    std::vector<double> out(2 * heads);
    Outputs patched = clean;
    for (size_t h = 0; h < heads; ++h) {
      progress(static_cast<double>(h) / static_cast<double>(heads));
      const size_t layer = h / model.query_heads, first = h % model.query_heads * model.head_dim;
      const auto put = [&](const Outputs& from) {
        std::copy_n(from[layer].begin() + static_cast<ptrdiff_t>(first), model.head_dim,
                    patched[layer].begin() + static_cast<ptrdiff_t>(first));
      };
      put(other);
      LOCI_TRY(const Answers after, last_row_with(patched));
      put(clean);
      out[h] = after.memory - before.memory;
      out[heads + h] = after.context - before.context;
    }
    return out;
  }

  Subject& subject_;
  std::vector<Fact> facts_;
  Ph3Calibration options_;
};

}  // namespace

std::unique_ptr<Calibration> ph3(Subject& subject, std::vector<Fact> facts, Ph3Calibration options) {
  return std::make_unique<Ph3>(subject, std::move(facts), std::move(options));
}

}  // namespace loci
