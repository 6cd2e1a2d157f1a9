#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Sample context_with(const char* name, uint64_t seed, uint32_t units) {
  return task(name).generate({.data = data(), .seed = 1, .sample_seed = seed, .units = units});
}

TEST(ScBench, TurnsAndRequestsAskTheSame) {
  for (const char* name : {"kv", "mf", "vt", "prefix_suffix"}) {
    SCOPED_TRACE(name);
    const Sample turns = context_with((std::string(name) + "_turns").c_str(), 4, 40);
    const Sample requests = context_with((std::string(name) + "_requests").c_str(), 4, 40);
    EXPECT_EQ(whole_text(turns), whole_text(requests));
    EXPECT_EQ(turns.turns.size(), std::string_view(name) == "vt" ? 3U : 5U);
    EXPECT_TRUE(turns.beginning.empty());
  }
}

TEST(ScBench, EachQuestionHasItsAnswerInTheContext) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Sample kv = context_with("kv_turns", seed, 30);
    for (const Turn& turn : kv.turns) {
      EXPECT_THAT(kv.prompt, HasSubstr("\"" + turn.question.substr(6, 36) + "\": \"" + turn.answers[0] + "\""));
    }
    const Sample strings = context_with("prefix_suffix_turns", seed, 30);
    for (const Turn& turn : strings.turns) {
      EXPECT_EQ(occurrences(strings.prompt, "\n" + turn.answers[0]), 1U);
      EXPECT_THAT(turn.question, HasSubstr("begins with \"" + turn.answers[0].substr(0, 6) + "\" and ends with \"" +
                                           turn.answers[0].substr(24) + "\""));
    }
    const Sample vt = context_with("vt_turns", seed, 30);
    for (const Turn& turn : vt.turns) {
      ASSERT_EQ(turn.answers.size(), 5U);
      std::smatch value;
      ASSERT_TRUE(std::regex_search(turn.question, value, std::regex("the value ([0-9]{5}) in")));
      size_t last = vt.prompt.find("VAR " + turn.answers[0] + " = " + value[1].str());
      ASSERT_NE(last, std::string::npos);
      for (size_t i = 1; i < 5; ++i) {
        const size_t at = vt.prompt.find("VAR " + turn.answers[i] + " = VAR " + turn.answers[i - 1] + " ");
        ASSERT_NE(at, std::string::npos);
        EXPECT_GT(at, last);
        last = at;
      }
    }
  }
}

TEST(ScBench, RanksAreThoseOfTheList) {
  const Sample sample = context_with("mf_turns", 2, 50);
  std::vector<int> numbers;
  const std::regex number("[0-9]+");
  for (std::sregex_iterator it(sample.prompt.begin(), sample.prompt.end(), number), end; it != end; ++it) {
    numbers.push_back(std::stoi(it->str()));
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  for (const Turn& turn : sample.turns) {
    const std::string& b = turn.beginning;
    const size_t n = numbers.size();
    const int wanted = b.find("second largest") != std::string::npos    ? numbers[n - 2]
                       : b.find("third largest") != std::string::npos   ? numbers[n - 3]
                       : b.find("largest") != std::string::npos         ? numbers[n - 1]
                       : b.find("second smallest") != std::string::npos ? numbers[1]
                                                                        : numbers[0];
    EXPECT_EQ(turn.answers[0], std::to_string(wanted)) << b;
    EXPECT_THAT(turn.question, StartsWith("What is the "));
  }
}

TEST(ScBench, TheWholeTextHoldsTheRightAnswersButTheLast) {
  const Sample sample = context_with("kv_turns", 2, 10);
  const std::string text = whole_text(sample);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(occurrences(text, sample.turns[i].answers[0]), i < 4 ? 2U : 1U);
}

}  // namespace
}  // namespace loci
