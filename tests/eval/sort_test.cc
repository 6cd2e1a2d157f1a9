#include "eval/sort.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::StartsWith;

const SuiteData& book() {
  static const SuiteData made(
      {.haystack = read_shipped("data/books/moby-dick.txt"), .adjectives = "a", .nouns = "b", .verbs = "c"});
  return made;
}

TEST(Sort, ExcerptsAndSegmentsAreThePublishedOnes) {
  for (const nlohmann::json& item : stored_prompts("sort.json")) {
    MersenneTwister numpy(item.at("sample_seed").get<uint32_t>());
    const SortTrial trial =
        draw_sort_trial(book().essay, numpy, item.at("excerpt"), item.at("segment"), item.at("bin"));
    EXPECT_EQ(trial.start, item.at("start").get<size_t>());
    EXPECT_EQ(trial.first, item.at("first").get<uint32_t>());
    EXPECT_EQ(trial.second, item.at("second").get<uint32_t>());
    EXPECT_THAT(book().essay.words_from(trial.start + trial.first, 4), StartsWith(item.at("words").get<std::string>()));
  }
}

// An oracle that looks for the segments in the excerpt is always right; one that always says A is right in half.
TEST(Sort, TheSegmentThatStandsFirstIsTheAnswer) {
  for (const char* name : {"sort_20", "sort_50"}) {
    uint32_t first_is_a = 0;
    for (uint32_t i = 0; i < 16; ++i) {
      const Sample sample =
          task(name).generate({.data = book(), .seed = 1, .sample_seed = i, .index = i, .units = 400});
      const size_t question = sample.prompt.find("You will be shown two text segments");
      const size_t a = sample.prompt.find("Segment A: ", question), b = sample.prompt.find(" Segment B: ", a);
      const size_t end = sample.prompt.find("\n Which of these", b);
      const size_t at_a = sample.prompt.find(sample.prompt.substr(a + 11, b - a - 11));
      const size_t at_b = sample.prompt.find(sample.prompt.substr(b + 12, end - b - 12));
      ASSERT_LT(at_a, question);
      ASSERT_LT(at_b, question);
      EXPECT_EQ(sample.answers[0], at_a < at_b ? "A" : "B");
      first_is_a += sample.answers[0] == "A" ? 1 : 0;
      if (i % 2 == 1) {
        EXPECT_EQ(first_is_a, (i + 1) / 2);
      }
    }
  }
}

TEST(SegmentOrder, TheSegmentThatStandsFirstIsTheAnswer) {
  size_t first_is_a = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    const Sample sample =
        task("segment_order").generate({.data = book(), .seed = 1, .sample_seed = i, .index = i, .units = 1000});
    const size_t question = sample.prompt.find("\nWhich of these");
    const size_t a = sample.prompt.find("\nSegment A: "), b = sample.prompt.find("\nSegment B: ");
    const std::string in_a = sample.prompt.substr(a + 12, b - a - 12);
    const std::string in_b = sample.prompt.substr(b + 12, sample.prompt.rfind('\n') - b - 12);
    EXPECT_EQ(sample.needles, sample.answers[0] == "A" ? (std::vector<std::string>{in_a, in_b})
                                                       : (std::vector<std::string>{in_b, in_a}));
    const std::string excerpt = sample.prompt.substr(0, question);
    EXPECT_NE(excerpt.find(in_a), std::string::npos);
    EXPECT_NE(excerpt.find(in_b), std::string::npos);
    EXPECT_EQ(sample.answers[0], excerpt.find(in_a) < excerpt.find(in_b) ? "A" : "B");
    first_is_a += sample.answers[0] == "A" ? 1 : 0;
    if (i % 2 == 1) {
      EXPECT_EQ(first_is_a, (i + 1) / 2) << "who always says A is right in half of any even number";
    }
  }
}

TEST(Sort, ATextOfFewSentencesStillGivesTwoSegments) {
  const Essay essay("one two three four five");
  for (uint32_t bin = 0; bin < 4; ++bin) {
    MersenneTwister numpy(bin);
    const SortTrial trial = draw_sort_trial(essay, numpy, 250, 50, bin);
    EXPECT_LT(trial.first, trial.second);
    EXPECT_LE(trial.second, 200U);
  }
}

}  // namespace
}  // namespace loci
