// Suites in which the prompt contradicts what a model may know.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "eval/capitals.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;
using testing::Not;

Sample about_fact(const char* name, uint32_t index, uint32_t units = 40) {
  return task(name).generate({.data = data(), .seed = 9, .sample_seed = index, .index = index, .units = units});
}

TEST(Conflicts, PromptsOfOneIndexAreAboutOneFact) {
  std::set<std::string_view> countries;
  for (uint32_t i = 0; i < kCapitals.size(); ++i) {
    const Conflict conflict = draw_conflict(9, i);
    EXPECT_NE(conflict.fact.city, conflict.other);
    countries.insert(conflict.fact.country);
    for (const char* name : {"closed_book", "memory_sentence", "memory_paragraph"}) {
      EXPECT_EQ(about_fact(name, i).answers[0], conflict.fact.city) << name;
    }
    for (const char* name : {"context_sentence", "context_paragraph"}) {
      EXPECT_EQ(about_fact(name, i).answers[0], conflict.other) << name;
    }
  }
  EXPECT_EQ(countries.size(), kCapitals.size());
}

TEST(Conflicts, BothRatesAreOfTheSamePrompts) {
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(about_fact("context_sentence", i).prompt, about_fact("memory_sentence", i).prompt);
    EXPECT_EQ(about_fact("context_paragraph", i).prompt, about_fact("memory_paragraph", i).prompt);
    const Conflict conflict = draw_conflict(9, i);
    EXPECT_THAT(about_fact("closed_book", i).prompt, Not(HasSubstr(std::string(conflict.fact.country))));
    EXPECT_THAT(
        about_fact("context_sentence", i).prompt,
        HasSubstr(fmt::format("The name of the capital city of {} is {}. ", conflict.fact.country, conflict.other)));
    EXPECT_EQ(about_fact("closed_book", i, 1).prompt, "");
    EXPECT_EQ(occurrences(about_fact("context_sentence", i, 201).prompt, " "),
              200 + occurrences(about_fact("context_sentence", i).needles[0], " ") + 1);
  }
  EXPECT_EQ(score_answer(Scorer::kBegins, " paris, of course", {"Paris"}), 1);
  EXPECT_EQ(score_answer(Scorer::kBegins, "not Paris", {"Paris"}), 0);
  EXPECT_EQ(score_answer(Scorer::kBegins, "Par", {"Paris"}), 0);
  EXPECT_EQ(score_answer(Scorer::kBegins, "Romeo", {"Rome"}), 0);
  EXPECT_EQ(score_answer(Scorer::kBegins, "Rome.", {"Rome"}), 1);
}

// Who always prefers memory's claim has ratio 1, who always prefers A about a half.
TEST(KnowledgeClash, OptionsHoldBothClaims) {
  int memory_is_a = 0;
  for (uint32_t i = 0; i < 96; ++i) {
    const Sample sample = about_fact("memory_first", i);
    const Conflict conflict = draw_conflict(9, i);
    const std::string memory = fmt::format("{} is the capital of {}.", conflict.fact.city, conflict.fact.country);
    const std::string counter = fmt::format("{} is the capital of {}.", conflict.other, conflict.fact.country);
    const bool a = sample.answers[0] == "A";
    EXPECT_THAT(sample.prompt, HasSubstr(fmt::format("Options:\nA: {}\nB: {}\nC: Uncertain.\n\n", a ? memory : counter,
                                                     a ? counter : memory)));
    EXPECT_LT(sample.prompt.find(memory), sample.prompt.find(counter));
    EXPECT_EQ(sample.abstention, 2U);
    memory_is_a += a ? 1 : 0;
    const Sample swapped = about_fact("counter_first", i);
    EXPECT_GT(swapped.prompt.find(memory), swapped.prompt.find(counter));
  }
  EXPECT_GT(memory_is_a, 30);
  EXPECT_LT(memory_is_a, 66);
}

TEST(KnowledgeClash, EvidenceIsNumberedAndOneSourceLeavesRoomForKnowledge) {
  const Conflict conflict = draw_conflict(9, 3);
  const std::string alone = about_fact("counter_alone", 3, 1).prompt;
  EXPECT_THAT(alone, HasSubstr("According to the given information and your knowledge, choose"));
  EXPECT_THAT(alone, HasSubstr(fmt::format("Information: {} is the capital", conflict.other)));
  const std::string against = about_fact("two_against", 3, 1).prompt;
  EXPECT_THAT(against, HasSubstr("According to the given information, choose"));
  EXPECT_THAT(against, HasSubstr(fmt::format("Information: \n1. {} is", conflict.other)));
  EXPECT_THAT(against, HasSubstr(fmt::format("\n2. {} is", conflict.fact.city)));
  EXPECT_THAT(against, HasSubstr(fmt::format("\n3. {} is", conflict.other)));
  EXPECT_THAT(about_fact("claim_of_memory", 3, 1).prompt,
              HasSubstr(fmt::format("\n1. {} is the capital of {}.\n2. ", conflict.fact.city, conflict.fact.country)));
}

}  // namespace
}  // namespace loci
