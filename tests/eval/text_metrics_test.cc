// Against what LongBench's functions gave, with the packages rouge 1.0.1 and, for the ratio, rapidfuzz 3.14.6.
#include "eval/text_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "eval/jsonl_suite.h"
#include "eval/scorers.h"

namespace loci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(WordF1, EqualsThePublishedFunction) {
  EXPECT_DOUBLE_EQ(word_f1("The quick, brown fox!", "a quick fox jumps"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(word_f1("Paris", "It is Paris."), 0.5);
  EXPECT_EQ(word_f1("none of it", "something else"), 0);
  EXPECT_DOUBLE_EQ(word_f1("an apple a day an apple", "apple apple the pear"), 0.6666666666666666);
  EXPECT_DOUBLE_EQ(word_f1("Th\u00e9\u00e2tre du Soleil", "the theatre du soleil"), 0.6666666666666666);
  EXPECT_EQ(word_f1("", "x"), 0);
}

TEST(RougeL, EqualsThePublishedPackage) {
  EXPECT_DOUBLE_EQ(
      rouge_l("the cat sat on the mat. it purred loudly.", "the cat lay on the mat. loudly it purred and slept."),
      0.6666666617283951);
  EXPECT_DOUBLE_EQ(rouge_l("a b c d e", "e d c b a"), 0.19999999500000015);
  EXPECT_DOUBLE_EQ(rouge_l("one. two. three", "three. two. one"), 0.999999995);
  EXPECT_EQ(rouge_l("", "x"), 0);
  EXPECT_DOUBLE_EQ(rouge_l("police killed the gunman", "police kill the gunman. the gunman died"), 0.6666666617283951);
  EXPECT_DOUBLE_EQ(rouge_l("  . x y", "x  y"), 0.7999999952000001);
}

TEST(EditSimilarity, EqualsThePublishedFunction) {
  EXPECT_DOUBLE_EQ(edit_similarity("\n# comment\nfor i in range(10):\n  pass", "for j in range(12):"), 0.89);
  EXPECT_DOUBLE_EQ(edit_similarity("return x;", "return y;"), 0.89);
  EXPECT_DOUBLE_EQ(edit_similarity("```\nint a = 0;\n```", "int a = 1;"), 0.9);
  EXPECT_EQ(edit_similarity("// only\n# these", "abc"), 0);
  EXPECT_EQ(edit_similarity("abcdef", "abcdef"), 1);
}

TEST(Scorers, TheBestReferenceCounts) {
  EXPECT_EQ(score_answer(Scorer::kWordF1, "Paris", {"Rome", "paris"}), 1);
  EXPECT_NEAR(score_answer(Scorer::kRougeL, "a b", {"x", "a b"}), 1, 1e-8);
  EXPECT_EQ(score_answer(Scorer::kEditSimilarity, "ab", {"cd", "ab"}), 1);
}

TEST(Jsonl, RecordsAreReadAndMistakesNamed) {
  const auto records = parse_jsonl(
      "{\"context\": \"c\", \"input\": \"q?\", \"answers\": [\"a\", \"b\"], \"length\": 7}\n\n"
      "{\"context\": \"d\", \"input\": \"\", \"answers\": [\"e\"]}");
  ASSERT_TRUE(records.ok()) << records.error().message;
  ASSERT_EQ(records->size(), 2U);
  EXPECT_THAT((*records)[0].answers, ElementsAre("a", "b"));
  EXPECT_EQ((*records)[1].context, "d");
  EXPECT_THAT(parse_jsonl("{\"context\": \"c\", \"input\": \"q\", \"answers\": [\"a\"]}\n[]").error().message,
              HasSubstr("line 2"));
  EXPECT_THAT(parse_jsonl("{\"context\": \"c\", \"input\": \"q\", \"answers\": []}").error().message,
              HasSubstr("no answer"));
  EXPECT_EQ(parse_jsonl(" \n").error().code, ErrorCode::kCorrupt);
}

TEST(Jsonl, TheMiddleOfALongContextIsCutBetweenCharacters) {
  SuiteData data({.haystack = "", .adjectives = "a", .nouns = "b", .verbs = "c"});
  data.records = {{"0123\u20ac\u20ac6789 {input}", "why?", {"x"}}};
  data.record_prompt = "<{context}|{input}>";
  const auto prompt = [&](uint32_t units) { return jsonl_question({.data = data, .units = units}).prompt; };
  EXPECT_EQ(prompt(100), "<0123\u20ac\u20ac6789 {input}|why?>");
  EXPECT_EQ(prompt(4), "<01t}|why?>");
  for (uint32_t units = 1; units < 24; ++units) {
    EXPECT_NO_THROW(nlohmann::json(prompt(units)).dump()) << units;
  }
}

}  // namespace
}  // namespace loci
