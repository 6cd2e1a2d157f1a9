// Calibrations on the model that ships, whose heads are known (docs/formats/profile.md).
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "calibrate/act.h"
#include "calibrate/capitals.h"
#include "calibrate/duo.h"
#include "calibrate/moa.h"
#include "calibrate/razor.h"
#include "calibrate/retrieval_heads.h"

namespace loci {
namespace {

class NeedleModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    Result<std::unique_ptr<Subject>> loaded =
        Subject::load(std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf", {.threads = 2, .context = 640});
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    subject_ = std::move(*loaded).release();
  }
  static void TearDownTestSuite() { delete subject_; }

  static Needle needle(uint32_t sentences_before, const std::string& value) {
    const std::string fill =
        "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
    std::string document =
        "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about "
        "the number afterwards.\n";
    for (uint32_t i = 0; i < 16; ++i) {
      if (i == sentences_before) document += "One of the special magic numbers for witty-gorilla is: " + value + ". ";
      document += fill;
    }
    document.pop_back();
    const Result<SubjectPrompt> prompt =
        subject_->prompt(document, "What is the special magic number for witty-gorilla mentioned in the provided text?",
                         "The special magic number for witty-gorilla mentioned in the provided text is", true);
    Result<Needle> out = locate_needle(subject_->tokenizer(), *prompt, value);
    EXPECT_TRUE(out.ok()) << out.error().message;
    EXPECT_LT(out->prompt.size(), 620u);
    return *out;
  }

  static Result<Profile> conclude(Calibration& calibration) {
    std::vector<std::vector<double>> pieces;
    for (uint32_t i = 0; i < calibration.pieces(); ++i) {
      Result<std::vector<double>> piece = calibration.run(i, {}, [](double) {});
      if (!piece.ok()) return piece.error();
      pieces.push_back(std::move(*piece));
    }
    return calibration.conclude(pieces);
  }

  // The `count` KV heads with the greatest numbers, as layer * 4 + head.
  static std::set<size_t> top(const std::vector<double>& values, size_t count) {
    std::vector<size_t> order(values.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
    return {order.begin(), order.begin() + static_cast<ptrdiff_t>(count)};
  }

  static Subject* subject_;
};
Subject* NeedleModel::subject_ = nullptr;

const std::set<size_t> kStrong = {4 * 4 + 0, 5 * 4 + 1, 5 * 4 + 3};  // KV heads (4,0) (5,1) (5,3)

TEST_F(NeedleModel, LocatesTheAnswer) {
  const Needle at = needle(4, "7305842");
  EXPECT_EQ(at.count, 7u);
  EXPECT_GT(at.question, at.first + at.count);
  EXPECT_EQ(*subject_->tokenizer().decode(std::span(at.prompt).subspan(at.first, at.count)), "7305842");
  const Result<std::string> question = subject_->tokenizer().decode(std::span(at.prompt).subspan(at.question));
  EXPECT_EQ(question->find("\nWhat is"), 0u);
}

TEST_F(NeedleModel, RetrievalHeadsAreFound) {
  const auto calibration = retrieval_heads(*subject_, {needle(3, "7305842"), needle(11, "4918263")}, {});
  const Result<Profile> profile = conclude(*calibration);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  EXPECT_EQ(profile->settings.at("found"), 2);
  const std::vector<double>& score = profile->values.at("retrieval");
  const std::vector<double>& mass = profile->values.at("mass");
  std::set<size_t> found;
  for (size_t h = 0; h < score.size(); ++h) {
    EXPECT_LE(score[h], 1.0);
    if (score[h] >= 0.9) found.insert(h / 2);
    if (h < 3 * 8) {
      EXPECT_EQ(score[h], 0) << "nothing is copied in the first layers";
    }
    if (score[h] == 1) {
      EXPECT_GT(mass[h], 0.8);
    }
  }
  EXPECT_EQ(found, kStrong);
}

TEST_F(NeedleModel, HeadsThatLookBackAtRepeatedTokensAreFound) {
  const auto calibration = razor(*subject_, {.period = 128, .rounds = 1, .seed = 1, .settings = {}});
  ASSERT_TRUE(calibration.ok());
  const Result<Profile> profile = conclude(**calibration);
  ASSERT_TRUE(profile.ok());
  const std::set<size_t> best = top(profile->values.at("induction"), 3);
  EXPECT_EQ(best, kStrong);
  for (const double share : profile->values.at("induction")) EXPECT_LE(share, 1.001);
  EXPECT_FALSE(razor(*subject_, {.period = 5000, .rounds = 1, .settings = {}}).ok());
}

TEST_F(NeedleModel, HeadsThatAreMissedAreFound) {
  const auto calibration =
      duo(*subject_, {needle(4, "7305842")}, {.pattern = {.sinks = 16, .window = 128}, .settings = {}});
  const Result<Profile> profile = conclude(*calibration);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  const std::vector<double>& gate = profile->values.at("gate");
  EXPECT_EQ(*std::max_element(gate.begin(), gate.end()), 1.0);
  const std::set<size_t> best = top(gate, 3);
  for (const size_t head : best) EXPECT_GE(head, 3u * 4);
  EXPECT_TRUE(best.contains(4 * 4 + 0)) << "the head in layer 4 has no substitute";
}

TEST_F(NeedleModel, ALossIsZeroWhereTheWindowHoldsEverything) {
  const Needle at = needle(4, "7305842");
  const auto ablation = Ablation::make(*subject_, at, {.answer_tokens = 10}, {});
  ASSERT_TRUE(ablation.ok());
  ASSERT_TRUE((*ablation)->found());
  const HeadChoice all = open_heads(subject_->shape()), none(all.size());
  EXPECT_EQ(*(*ablation)->loss(all, {.sinks = 0, .window = 640}, {}), 0);
  EXPECT_EQ(*(*ablation)->loss(none, {.sinks = 0, .window = 8}, {}), 0);
  EXPECT_GT(*(*ablation)->loss(all, {.sinks = 4, .window = 64}, {}), 0.5);
}

// In a prompt of plain text nobody retrieves, but heads read beyond 8 entries.
TEST_F(NeedleModel, TextCountsBesideTheAnswer) {
  const Needle at = needle(4, "7305842");
  const auto answer = Ablation::make(*subject_, at, {.answer_tokens = 10}, {});
  const auto both = Ablation::make(*subject_, at, {.answer_tokens = 10, .text_rows = 48}, {});
  ASSERT_TRUE(answer.ok() && both.ok());
  ASSERT_TRUE((*both)->found());
  const HeadChoice all = open_heads(subject_->shape());
  EXPECT_EQ(*(*both)->loss(all, {.sinks = 0, .window = 640}, {}), 0);
  HeadChoice without = all;
  for (const size_t head : kStrong) without[head] = false;
  const Pattern narrow{.sinks = 4, .window = 8};
  EXPECT_GT(*(*both)->loss(without, narrow, {}), *(*answer)->loss(without, narrow, {}) + 0.01);
}

// A zero query attends to everything alike: without its retrieval heads the model finds nothing.
class BlindTap final : public Tap {
 public:
  explicit BlindTap(std::set<size_t> kv_heads) : blind_(std::move(kv_heads)) {}
  void before_read(const View& view, Rows queries) override {
    if (view.phase != Phase::kDecode) return;
    const ModelShape& model = view.model;
    const size_t width = size_t{model.group()} * model.head_dim;
    for (uint32_t h = 0; h < model.kv_heads; ++h) {
      if (!blind_.contains(view.layer.value * model.kv_heads + h)) continue;
      for (uint32_t i = 0; i < queries.rows; ++i) std::fill_n(queries.row(i) + h * width, width, 0.0F);
    }
  }

 private:
  std::set<size_t> blind_;
};

TEST_F(NeedleModel, MaskedRetrievalHeadsLoseTheNeedleAndOthersDoNot) {
  const Needle at = needle(4, "7305842");
  const auto recall_without = [&](std::set<size_t> heads) {
    BlindTap tap(std::move(heads));
    Sequence sequence = subject_->begin(at.prompt);
    subject_->listen(&tap);
    const Result<std::vector<TokenId>> answer = subject_->answer(sequence, 10, {});
    subject_->listen(nullptr);
    return recall(at, *answer);
  };
  EXPECT_EQ(recall_without({}), 1.0);
  EXPECT_LT(recall_without(kStrong), 0.5);
  EXPECT_EQ(recall_without({0, 5, 10}), 1.0);
}

TEST_F(NeedleModel, AModelWithoutFactsHasNoMemoryHeads) {
  const auto calibration = ph3(*subject_, capitals(), {.prompts = 4, .seed = 0, .settings = {}});
  const Result<Profile> profile = conclude(*calibration);
  ASSERT_FALSE(profile.ok());
  EXPECT_EQ(profile.error().code, ErrorCode::kUnsupported);
}

TEST_F(NeedleModel, ActHelpsInSomeHeadsAndHarmsInOthers) {
  const auto calibration = act(*subject_, {needle(4, "7305842")}, {});
  ASSERT_TRUE(calibration.ok());
  const Result<Profile> profile = conclude(**calibration);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  const std::vector<double>& gain = profile->values.at("gain");
  for (size_t h = 0; h < gain.size(); ++h) {
    if (h / 8 < 2 || h / 8 == 5) {
      EXPECT_EQ(gain[h], 0) << h;
    }
  }
  EXPECT_GT(*std::max_element(gain.begin(), gain.end()), 0);
  EXPECT_LT(*std::min_element(gain.begin(), gain.end()), 0);
}

}  // namespace
}  // namespace loci
