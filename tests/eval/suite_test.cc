#include "eval/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "eval/ruler.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PythonRandom, DrawsWhatCPythonDraws) {
  PythonRandom random(12345678901234);
  EXPECT_EQ(random.bits(32), 107551873U);
  EXPECT_EQ(random.bits(32), 2403399316U);
  EXPECT_EQ(random.random(), 0.14532691110186335);
  EXPECT_EQ(random.between(5, 1000000), 446905);
  EXPECT_THAT(random.sample(10, 4), ElementsAre(8, 6, 7, 3));
  EXPECT_THAT(random.sample(1000, 3), ElementsAre(201, 151, 783));
  EXPECT_EQ(random.uuid(), "5d72bf4a-3bfd-40d5-bc82-425f5e80f8be");
  EXPECT_EQ(random.letters("abcdef", 5), "ecbae");
  std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7};
  random.shuffle(items);
  EXPECT_THAT(items, ElementsAre(2, 1, 4, 0, 7, 5, 3, 6));
  EXPECT_EQ(PythonRandom(3).below(uint64_t{1} << 40), 285805288266U);
}

TEST(PythonRandom, NumpysIntegersAreNumpys) {
  MersenneTwister twister(42U);
  EXPECT_EQ(numpy_randint(twister, 10000, 99999), 25795);
  EXPECT_EQ(numpy_randint(twister, 10000, 99999), 10860);
  EXPECT_EQ(numpy_randint(twister, 10000, 99999), 86820);
}

TEST(WordPairs, StandInTheOrderOfTheirStrings) {
  const WordPairs& keys = data().keys;
  ASSERT_EQ(keys.size(), 6171620U);
  EXPECT_EQ(keys.at(0), "Early-ATM");
  EXPECT_EQ(keys.at(3000000), "lackadaisical-finisher");
  EXPECT_EQ(keys.at(2500288), "high-pitched-TV");  // before "high-place-...", behind "high-pit..."
  EXPECT_EQ(keys.at(2500289), "high-pitched-aardvark");
  EXPECT_EQ(keys.at(keys.size() / 2), "level-ATM");
  EXPECT_EQ(keys.at(keys.size() - 1), "zonked-zucchini");
  for (uint64_t i = 2499000; i < 2510000; ++i) ASSERT_LT(keys.at(i), keys.at(i + 1)) << i;
}

TEST(Essay, BeginsAgainBehindItsEnd) {
  const Essay essay(" one\n two  three ");
  EXPECT_EQ(essay.words(), 3U);
  EXPECT_EQ(essay.first_words(2), "one two");
  EXPECT_EQ(essay.first_words(3), "one two three");
  EXPECT_EQ(essay.first_words(7), "one two three one two three one");
  EXPECT_EQ(Essay("").first_words(5), "");
  EXPECT_EQ(essay.words_from(2, 3), "three one two");
}

TEST(Essay, KnowsWhereSentencesBegin) {
  const Essay essay("One two. Three four? Five.");
  EXPECT_EQ(essay.sentence_at(0), 0U);
  EXPECT_EQ(essay.sentence_at(1), 2U);
  EXPECT_EQ(essay.sentence_at(2), 2U);
  EXPECT_EQ(essay.sentence_at(3), 4U);
  EXPECT_EQ(essay.sentence_at(5), 0U);  // none behind it: the text's own
}

TEST(HeldOutWords, AreEveryFifthOfThoseInLowerCase) {
  EXPECT_THAT(held_out_words("f\ne\nd\nc\nb\na\nB\nx-y\na\ng\nh\ni\nj\n"), ElementsAre("e", "j"));
}

TEST(Ruler, GivesThePublishedPrompts) {
  std::set<std::string> tasks;
  for (const nlohmann::json& item : ruler_fixtures().at("cases")) {
    const uint64_t seed = item.at("seed");
    tasks.insert(item.at("task").get<std::string>());
    const Sample sample = task(item.at("task").get<std::string>())
                              .generate({.data = data(),
                                         .seed = seed,
                                         .sample_seed = item.at("sample_seed"),
                                         .length = item.at("length"),
                                         .index = item.value("index", 0U),
                                         .units = item.at("units"),
                                         .vt_example_lines = 6});
    SCOPED_TRACE(item.at("task").get<std::string>() + " " + std::to_string(seed));
    EXPECT_EQ(sample.prompt, item.at("prompt").get<std::string>());
    EXPECT_EQ(sample.beginning, item.at("beginning").get<std::string>());
    EXPECT_EQ(sample.answers, item.at("answers").get<std::vector<std::string>>());
  }
  EXPECT_EQ(tasks.size(), 13U);
}

// Of the oldest suites, whose units are small.
bool fills_to_a_line(const Task& t) {
  return t.suite == "ruler" || t.suite == "passkey" || t.suite == "kv" || t.suite == "order";
}

TEST(Suite, EveryPromptFillsItsLengthAndHoldsItsAnswers) {
  for (const Task& t : all_tasks()) {
    if (!fills_to_a_line(t)) continue;
    SCOPED_TRACE(t.name);
    SampleMaker maker = byte_maker(5);
    const uint32_t length = t.name == "cwe" ? 8000 : t.name == "vt" ? 6000 : 4000;
    for (uint32_t index = 0; index < 3; ++index) {
      const Result<SizedSample> made = maker.make(t, length, index);
      ASSERT_TRUE(made.ok()) << made.error().message;
      EXPECT_LE(made->tokens.size() + made->answer_tokens, length);
      if (t.needs.empty()) {  // documents come to an end
        // A unit at most; where segments of other lengths are drawn with each, more.
        EXPECT_GE(made->tokens.size() + made->answer_tokens, length - (t.suite == "order" ? 400 : 130));
      }
      if (t.suite == "order") continue;  // whose answer is a letter
      const size_t question = made->sample.prompt.rfind('\n');
      ASSERT_FALSE(made->sample.answers.empty());
      for (const std::string& answer : made->sample.answers) {
        EXPECT_GE(occurrences(made->sample.prompt.substr(0, question), answer), 1U) << answer;
        EXPECT_EQ(occurrences(made->sample.prompt.substr(question), answer), 0U) << answer;
      }
      EXPECT_GE(made->sample.depth, 0);
      EXPECT_LE(made->sample.depth, 1);
    }
  }
}

// A unit of theirs may be hundreds of bytes: one update of 46 keys.
TEST(Suite, PromptsOfAllSuitesFitTheirLength) {
  for (const Task& t : all_tasks()) {
    if (fills_to_a_line(t)) continue;
    SCOPED_TRACE(t.name);
    SampleMaker maker = byte_maker(5);
    const uint32_t length = t.name == "pi_keys" ? 20000 : 10000;
    for (uint32_t index = 0; index < 3; ++index) {
      const Result<SizedSample> made = maker.make(t, length, index);
      ASSERT_TRUE(made.ok()) << made.error().message;
      EXPECT_LE(made->tokens.size() + made->answer_tokens, length);
      EXPECT_GE(made->tokens.size() + made->answer_tokens, length * 3 / 4);
      EXPECT_GE(made->sample.depth, 0);
      EXPECT_LE(made->sample.depth, 1);
      EXPECT_EQ(made->sample.turns.empty(), t.asking != Asking::kTurns && t.asking != Asking::kRequests);
      EXPECT_EQ(made->sample.choices.empty(), t.asking != Asking::kChoice);
      EXPECT_EQ(made->sample.recall.tokens.empty(), t.asking != Asking::kRecall);
      for (const std::string& needle : made->sample.needles) {
        EXPECT_NE(made->sample.prompt.find(needle), std::string::npos) << needle;
      }
    }
  }
}

TEST(Suite, TheSameSeedGivesTheSamePromptWhateverWasMadeBefore) {
  SampleMaker one = byte_maker(5), other = byte_maker(5), third = byte_maker(6);
  const Task& vt = task("vt");
  ASSERT_TRUE(other.make(task("niah_single_2"), 4000, 9).ok());
  const std::string prompt = one.make(vt, 6000, 2)->sample.prompt;
  EXPECT_EQ(prompt, other.make(vt, 6000, 2)->sample.prompt);
  EXPECT_NE(prompt, other.make(vt, 6000, 3)->sample.prompt);
  EXPECT_NE(prompt, third.make(vt, 6000, 2)->sample.prompt);
}

// How a reader who knows them states the answers.
std::string told(const Task& t, const std::vector<std::string>& answers) {
  std::string out;
  for (const std::string& answer : answers) {
    out += t.scorer == Scorer::kBoxed ? "so it is \\boxed{" + answer + "}." : answer + " ";
  }
  return out;
}

TEST(Suite, AnOracleThatReadsTheNeedlesScoresFully) {
  for (const Task& t : all_tasks()) {
    if (t.asking == Asking::kRecall) continue;  // which has no text
    SCOPED_TRACE(t.name);
    SampleMaker maker = byte_maker(8);
    const SizedSample made = *maker.make(t, t.name == "pi_keys" ? 20000 : 10000, 0);
    std::vector<std::vector<std::string>> questions{made.sample.answers};
    if (!made.sample.turns.empty()) questions.clear();
    for (const Turn& turn : made.sample.turns) questions.push_back(turn.answers);
    for (const std::vector<std::string>& answers : questions) {
      EXPECT_NEAR(score_answer(t.scorer, told(t, answers), answers), 1, 1e-9);
      EXPECT_EQ(score_answer(t.scorer, "", answers), 0);
    }
  }
}

TEST(Suite, NoTwoTasksShareAName) {
  std::set<std::string_view> names;
  for (const Task& t : all_tasks()) {
    EXPECT_TRUE(names.insert(t.name).second) << t.name;
    EXPECT_FALSE(t.measures.empty());
    EXPECT_FALSE(t.source.empty());
  }
}

TEST(Suite, EvenDepthsAndRandomStartsMoveTheNeedleAndTheEssayAlone) {
  SampleMaker plain = byte_maker(8);
  SampleMaker even = byte_maker(8, {.prompts = 5, .even_depths = true});
  SampleMaker started = byte_maker(8, {.random_start = true});
  for (const char* name : {"niah_single_1", "niah_single_2", "niah_multikey_3", "passkey", "kv_retrieval"}) {
    SCOPED_TRACE(name);
    for (uint32_t i = 0; i < 5; ++i) {
      const Sample sample = even.make(task(name), 4000, i)->sample;
      EXPECT_NEAR(sample.depth, i / 4.0, 0.08);
      if (task(name).suite == "kv") continue;  // where another pair is asked for
      EXPECT_EQ(sample.answers, plain.make(task(name), 4000, i)->sample.answers);
    }
  }
  const Sample published = plain.make(task("niah_single_2"), 4000, 1)->sample;
  const Sample moved = started.make(task("niah_single_2"), 4000, 1)->sample;
  EXPECT_EQ(moved.needles, published.needles);
  EXPECT_NE(moved.prompt, published.prompt);
  EXPECT_EQ(started.make(task("niah_single_1"), 4000, 1)->sample.prompt,
            plain.make(task("niah_single_1"), 4000, 1)->sample.prompt);
}

TEST(QuestionSet, OtherFilesAreRefused) {
  for (const char* text : {"", "[]", "{}", R"({"data": [{"paragraphs": [{"context": 1}]}]})", R"([{"context": [[]]}])",
                           R"({"data": []})"}) {
    EXPECT_EQ(parse_squad(text).error().code, ErrorCode::kCorrupt) << text;
    EXPECT_EQ(parse_hotpotqa(text).error().code, ErrorCode::kCorrupt) << text;
  }
}

TEST(Suite, VariableTrackingAsksForItsOwnChain) {
  SampleMaker maker = byte_maker(8);
  const Sample sample = maker.make(task("vt"), 6000, 0)->sample;
  ASSERT_EQ(sample.answers.size(), 5U);
  EXPECT_EQ(sample.needles[1], "VAR " + sample.answers[1] + " = VAR " + sample.answers[0] + " ");
  const std::string value = sample.needles[0].substr(sample.needles[0].size() - 5);
  EXPECT_THAT(sample.beginning, HasSubstr("5 variables are assigned the value " + value + ", they are: "));
  EXPECT_EQ(occurrences(sample.prompt, "Memorize and track"), 2U);  // the worked example first
  EXPECT_EQ(occurrences(sample.prompt, "12345"), 0U);               // whose value is drawn anew
}

TEST(Suite, TooFewTokensAreALimit) {
  SampleMaker maker = byte_maker(8);
  const Result<SizedSample> made = maker.make(task("niah_single_1"), 300, 0);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kLimit);
  EXPECT_THAT(made.error().message, HasSubstr("300"));
}

TEST(Suite, NamesAreFoundAndMistakesNamed) {
  EXPECT_EQ(find_tasks("ruler")->size(), 13U);
  EXPECT_EQ(find_tasks("ruler:vt,niah_single_1")->front()->name, "niah_single_1");
  EXPECT_THAT(find_tasks("rulr").error().message, HasSubstr("ruler"));
  EXPECT_THAT(find_tasks("ruler:vx").error().message, HasSubstr("'vx'"));
  EXPECT_FALSE(find_tasks("ruler:").ok());
}

}  // namespace
}  // namespace loci
