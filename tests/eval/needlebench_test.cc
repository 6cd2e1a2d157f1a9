#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/stated_answers.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;

TEST(NeedleBench, ChainsAndTheirPlacesAreThePublishedOnes) {
  const nlohmann::json stored = stored_prompts("needlebench.json");
  const SuiteData numbered(
      {.haystack = stored.at("essay").get<std::string>(), .adjectives = "a", .nouns = "b", .verbs = "c"});
  for (const nlohmann::json& item : stored.at("cases")) {
    const uint32_t links = item.at("links");
    const std::string eldest = item.at("eldest"), youngest = item.at("youngest"), story = item.at("story");
    SampleInput input{.data = numbered, .seed = 1, .sample_seed = item.at("sample_seed"), .units = links};
    const auto made = [&](const char* name) { return task(name).generate(input); };
    EXPECT_THAT(made("eldest_ancestor").prompt, HasSubstr("below:\n" + story + "\n\nGiven the scrambled"));
    EXPECT_EQ(made("eldest_ancestor").answers[0], eldest);
    const std::string generations = std::to_string(item.at("generations").get<uint32_t>());
    EXPECT_EQ(made("relationship_distance").answers[0], generations);
    EXPECT_THAT(made("nth_ancestor").prompt,
                HasSubstr("who is the " + generations + "th generation ancestor of '" + youngest + "'?"));
    EXPECT_EQ(made("nth_ancestor").answers[0], eldest);
    EXPECT_EQ(made("nth_descendant").answers[0], youngest);
    if (!item.contains("documents")) continue;
    for (const nlohmann::json& document : item.at("documents")) {
      input.units = 60;
      input.depth = document.at("depth").get<double>() / 100;
      const Sample sample = made(("multi_reasoning_" + std::to_string(links)).c_str());
      EXPECT_THAT(sample.prompt, HasSubstr("<Document>\n" + document.at("text").get<std::string>() + "\n</Document>"));
      EXPECT_THAT(sample.prompt, HasSubstr("'" + youngest + "'"));
      EXPECT_EQ(sample.answers[0], eldest);
    }
  }
}

TEST(NeedleBench, ElevenFactsStandAtElevenDepths) {
  const Sample sample = task("multi_retrieval").generate({.data = data(), .seed = 1, .sample_seed = 4, .units = 300});
  ASSERT_EQ(sample.answers.size(), 11U);
  size_t last = 0;
  for (size_t i = 0; i < 11; ++i) {
    EXPECT_THAT(sample.needles[i], HasSubstr(sample.answers[i]));
    const size_t at = sample.prompt.find("\n" + sample.needles[i] + "\n");
    ASSERT_NE(at, std::string::npos);
    EXPECT_GT(at, last);
    last = at;
  }
  const size_t question = sample.prompt.find("please answer: ");
  EXPECT_EQ(occurrences(sample.prompt.substr(question), "\xE3\x80\x81"),
            20U);  // ten marks between questions, ten in the format
}

TEST(NeedleBench, TheLastBoxIsTheAnswer) {
  EXPECT_EQ(boxed_answer("\\boxed{A B} so \\boxed{James  Hill}."), "James Hill");
  EXPECT_EQ(boxed_answer("\\boxed{{James Hill}}"), "James Hill");
  EXPECT_EQ(boxed_answer("\\boxed{\\text{James Hill}}"), "James Hill");
  EXPECT_EQ(boxed_answer("\\boxed{'James\nHill'}"), "James Hill");
  EXPECT_EQ(boxed_answer("\\fbox{7}"), "7");
  EXPECT_EQ(boxed_answer("\\boxed{James"), "None");
  EXPECT_EQ(boxed_answer("\\boxed James"), "None");
  EXPECT_EQ(boxed_answer("\\boxed"), "None");
  EXPECT_EQ(boxed_answer("\\boxed{}"), "None");
  EXPECT_EQ(boxed_answer("\\boxed{\\text{}"), "None");
  EXPECT_EQ(boxed_answer("\\boxed{ }"), "");
  EXPECT_EQ(boxed_answer("James Hill"), "None");
  EXPECT_EQ(score_answer(Scorer::kBoxed, "it is \\boxed{7}", {"7"}), 1);
  EXPECT_EQ(score_answer(Scorer::kBoxed, "7", {"7"}), 0);
}

}  // namespace
}  // namespace loci
