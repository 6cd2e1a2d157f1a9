#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;

Sample sample_of(const char* name, uint64_t seed, uint32_t index, uint32_t units) {
  return task(name).generate({.data = data(), .seed = 1, .sample_seed = seed, .index = index, .units = units});
}

TEST(InfiniteBench, LinesInNoiseAreThePublishedOnes) {
  for (const nlohmann::json& item : stored_prompts("infinitebench.json")) {
    const Sample sample = task(item.at("task").get<std::string>())
                              .generate({.data = data(),
                                         .seed = 1,
                                         .sample_seed = item.at("sample_seed"),
                                         .units = item.at("units"),
                                         .depth = item.at("depth").get<double>()});
    EXPECT_EQ(sample.answers, item.at("answers").get<std::vector<std::string>>());
    EXPECT_THAT(sample.prompt, HasSubstr("\n\n" + item.at("context").get<std::string>() + "\n\nWhat is the "));
  }
}

TEST(InfiniteBench, AStringOfDigitsHoldsFiveRepeats) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::string key = sample_of("number_string", seed, 0, 3).answers[0];
    ASSERT_EQ(key.size(), 10U);
    int repeats = 0;
    for (size_t i = 1; i < key.size(); ++i) repeats += key[i] == key[i - 1] ? 1 : 0;
    EXPECT_GE(repeats, 5) << key;
  }
}

TEST(InfiniteBench, RanksOfNumbersAreThoseOfTheList) {
  for (uint32_t index = 0; index < 14; ++index) {
    const Sample sample = sample_of("math_find", index, index, 40 + index);
    std::vector<double> numbers;
    const std::regex number("[0-9]+");
    for (std::sregex_iterator it(sample.prompt.begin(), sample.prompt.end(), number), end; it != end; ++it) {
      numbers.push_back(std::stod(it->str()));
    }
    ASSERT_EQ(numbers.size(), 40 + index);
    std::sort(numbers.begin(), numbers.end());
    const double middle = (numbers[(numbers.size() - 1) / 2] + numbers[numbers.size() / 2]) / 2;
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    const size_t n = numbers.size();
    const std::vector<double> wanted{numbers[n - 1], numbers[n - 2], numbers[n - 3], numbers[0],
                                     numbers[1],     numbers[2],     middle};
    EXPECT_EQ(std::stod(sample.answers[0]), wanted[index % 7]) << sample.beginning;
    if (index % 7 < 3) {
      EXPECT_LE(numbers.back(), 99);
    }
  }
}

// Follows the calls as Python would.
TEST(InfiniteBench, ChainsOfCallsReturnTheAnswer) {
  for (uint32_t index = 0; index < 10; ++index) {
    const Sample sample = sample_of("code_run", 900 + index, index, 60);
    std::map<std::string, std::pair<std::string, int>> functions;  // the one that is called, and what is added
    const std::regex definition(
        "def (func_[0-9]+)\\(x\\):\\n    return (func_[0-9]+|x)(?:\\(x\\))? ([+-]) ([0-9]+)\\n");
    for (std::sregex_iterator it(sample.prompt.begin(), sample.prompt.end(), definition), end; it != end; ++it) {
      functions[(*it)[1]] = {(*it)[2], std::stoi((*it)[4]) * ((*it)[3] == "+" ? 1 : -1)};
    }
    const uint32_t layers = 2 * (index % 5 + 1);
    EXPECT_EQ(functions.size(), 60 / layers * layers);
    std::smatch call;
    ASSERT_TRUE(std::regex_search(sample.beginning, call, std::regex("(func_[0-9]+)\\((-?[0-9]+)\\)")));
    int value = std::stoi(call[2]);
    uint32_t calls = 0;
    for (std::string name = call[1]; name != "x"; name = functions.at(name).first, ++calls) {
      value += functions.at(name).second;
    }
    EXPECT_EQ(calls, layers);
    EXPECT_EQ(sample.answers[0], std::to_string(value));
    EXPECT_EQ(sample.needles.size(), layers);
  }
}

TEST(InfiniteBench, AnswersCountAsPublished) {
  EXPECT_EQ(score_answer(Scorer::kWord, "is: \"ab-1\".", {"ab-1"}), 1);
  EXPECT_EQ(score_answer(Scorer::kWord, "xab-1", {"ab-1"}), 0);
  EXPECT_EQ(score_answer(Scorer::kFirstNumber, " 99, or 98", {"99"}), 1);
  EXPECT_EQ(score_answer(Scorer::kFirstNumber, "49.5.", {"49.5"}), 1);
  EXPECT_EQ(score_answer(Scorer::kFirstNumber, "49.", {"49"}), 1);
  EXPECT_EQ(score_answer(Scorer::kFirstNumber, "49.50", {"49.5"}), 1);
  EXPECT_EQ(score_answer(Scorer::kFirstNumber, "none", {"0"}), 0);
  EXPECT_EQ(score_answer(Scorer::kLastInteger, "func_1(3) = -12.", {"-12"}), 1);
  EXPECT_EQ(score_answer(Scorer::kLastInteger, "is +7", {"7"}), 1);
  EXPECT_EQ(score_answer(Scorer::kLastInteger, "7 apples", {"7"}), 0);
  EXPECT_EQ(score_answer(Scorer::kLastInteger, "", {"7"}), 0);
}

}  // namespace
}  // namespace loci
