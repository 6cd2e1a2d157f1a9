#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "eval/stated_answers.h"
#include "eval/stream.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;

TEST(PiLlm, StreamsComeInThePublishedOrder) {
  for (const nlohmann::json& item : stored_prompts("pi_llm.json")) {
    PythonRandom random(item.at("seed").get<uint64_t>());
    std::vector<KeyedValue> pairs;
    for (uint32_t key = 0; key < item.at("keys"); ++key) {
      for (uint32_t u = 0; u < item.at("updates"); ++u) {
        pairs.push_back({key, "v" + std::to_string(key) + "." + std::to_string(u)});
      }
    }
    const std::vector<KeyedValue> stream = without_repeats(pairs, random);
    ASSERT_EQ(stream.size(), item.at("stream").size());
    for (size_t i = 0; i < stream.size(); ++i) {
      EXPECT_EQ(stream[i].key, item.at("stream")[i][0].get<uint32_t>());
      EXPECT_EQ(stream[i].value, item.at("stream")[i][1].get<std::string>());
    }
  }
}

// What a reader finds who looks for the last pair of each key.
TEST(PiLlm, TheLastValueOfEachKeyIsTheAnswer) {
  for (const char* name : {"pi_updates", "pi_few_keys", "pi_asked", "pi_item_length", "pi_in_order"}) {
    SCOPED_TRACE(name);
    const Sample sample = task(name).generate({.data = data(), .seed = 1, .sample_seed = 6, .units = 5});
    const size_t begin = sample.prompt.find("next line.\n ") + 12;
    const std::string stream = sample.prompt.substr(begin, sample.prompt.rfind("\n\n") - begin);
    std::map<std::string, std::string> last;
    std::map<std::string, int> updates;
    std::string before;
    int repeats = 0;
    for (size_t at = 0; at < stream.size();) {
      const size_t colon = stream.find(": ", at), end = stream.find("; ", colon);
      const std::string key = stream.substr(at, colon - at);
      last[key] = stream.substr(colon + 2, end - colon - 2);
      repeats += key == before ? 1 : 0;
      before = key;
      ++updates[key];
      at = end + 2;
    }
    const std::string_view task_name = name;
    EXPECT_EQ(last.size(), task_name == "pi_few_keys" ? 8U : 46U);
    EXPECT_EQ(repeats > 0, task_name == "pi_in_order");
    for (const auto& [key, count] : updates) EXPECT_EQ(count, task_name == "pi_item_length" ? 4 : 5) << key;
    EXPECT_EQ(sample.answers.size(), task_name == "pi_few_keys" || task_name == "pi_asked" ? 8U : 46U);
    for (const std::string& answer : sample.answers) {
      const auto told = stated_values(answer);
      ASSERT_EQ(told.size(), 1U) << answer;
      std::string value = last.at(told.begin()->first);
      for (char& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      EXPECT_EQ(told.begin()->second, value);
    }
  }
}

TEST(PiLlm, SentencesAreReadAndTheLastOneWins) {
  const std::string reference = "The current value of bird is great tit.";
  const auto score = [&](const char* answer) { return score_answer(Scorer::kCurrentValues, answer, {reference}); };
  EXPECT_EQ(score("The current value of bird is great tit."), 1);
  EXPECT_EQ(score("the CURRENT value of **bird** is \"Great Tit\"; and"), 1);
  EXPECT_EQ(score("The current value of bird was emu. The current value of bird is great tit"), 1);
  EXPECT_EQ(score("The current value of bird is great tit. The current value of bird is emu."), 0);
  EXPECT_EQ(score("The current value of bird is great tits."), 0);
  EXPECT_EQ(score("The current value of fish is great tit."), 0);
  EXPECT_EQ(score("The current value of bird"), 0);
  EXPECT_EQ(score("The current value of bird is "), 0);
  EXPECT_EQ(score("great tit"), 0);
  EXPECT_EQ(score_answer(Scorer::kCurrentValues, reference, {reference, "The current value of fish is cod."}), 0.5);
}

}  // namespace
}  // namespace loci
