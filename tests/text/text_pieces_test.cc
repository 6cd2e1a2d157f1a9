// The parts of the pipeline on their own: UTF-8, the byte-level alphabet, patterns, normal forms, added tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "text/added_tokens.h"
#include "text/byte_level.h"
#include "text/newer_characters.h"
#include "text/normalizer.h"
#include "text/pattern.h"
#include "text/pre_tokenizer.h"
#include "text/unicode.h"

namespace loci {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Utf8, EveryCharacterSurvives) {
  for (char32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char c = utf8_at(text, 0);
    EXPECT_TRUE(c.valid && c.code == code && c.length == text.size()) << static_cast<uint32_t>(code);
  }
}

TEST(Utf8, InvalidSequencesAreReplacedAsAsked) {
  std::string storage;
  const auto per_sequence = [&](std::string_view text) {
    return std::string(valid_utf8(text, InvalidUtf8::kPerSequence, storage));
  };
  const auto per_byte = [&](std::string_view text) {
    return std::string(valid_utf8(text, InvalidUtf8::kPerByte, storage));
  };
  EXPECT_EQ(per_sequence("a\xE6\xBC!"), "a\uFFFD!");
  EXPECT_EQ(per_byte("a\xE6\xBC!"), "a\uFFFD\uFFFD!");
  EXPECT_EQ(per_sequence("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(per_sequence("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // surrogate
  EXPECT_EQ(per_sequence("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond the last
}

TEST(ByteLevel, MapsEveryByteAndBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(from_byte_level(to_byte_level(all)), all);
  EXPECT_EQ(to_byte_level(" \n"), "\u0120\u010A");
  EXPECT_EQ(from_byte_level("a\u6F22"), std::nullopt);
}

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const auto compiled = Pattern::compile(pattern);
  EXPECT_TRUE(compiled.ok()) << compiled.error().message;
  Pattern::Matcher matcher(*compiled);
  std::vector<std::pair<uint32_t, uint32_t>> found;
  EXPECT_TRUE(matcher.find_all(text, found).ok());
  std::vector<std::string> out;
  for (const auto& [begin, end] : found) out.emplace_back(text.substr(begin, end - begin));
  return out;
}

TEST(PatternMatch, WhiteSpaceIsTheUnicodeProperty) {
  EXPECT_THAT(matches(R"(\s+)", "a\u0085b\u3000c\u180Ed\u200Be"), ElementsAre("\u0085", "\u3000"));
  EXPECT_THAT(matches(R"([^\s\p{L}]+)", "a\u180E b"), ElementsAre("\u180E"));
  EXPECT_THAT(matches(R"(\S+)", "ab\u00A0c"), ElementsAre("ab", "c"));
}

TEST(PatternMatch, LineEndsAndFoldedCaseAreOnigurumas) {
  EXPECT_THAT(matches("b$", "ab\nb"), ElementsAre("b", "b"));
  EXPECT_THAT(matches("(?i:'s)", "'S '\u017F"), ElementsAre("'S", "'\u017F"));
}

TEST(PatternMatch, TrailingSpaceMeansTheSameAfterRewriting) {
  EXPECT_THAT(matches(R"(\s+$)", "a  b \n c  "), ElementsAre(" ", "  "));
}

TEST(NewerCharacters, StandInsKeepTheLength) {
  for (char32_t code = 0; code < 0x110000; ++code) {
    const char32_t known = known_character(code);
    if (known == code) continue;
    std::string a, b;
    append_utf8(a, code);
    append_utf8(b, known);
    EXPECT_EQ(a.size(), b.size()) << static_cast<uint32_t>(code);
    EXPECT_EQ(known_character(known), known) << static_cast<uint32_t>(code);
  }
  std::string storage;
  EXPECT_NE(with_known_characters("a\U00010D50", storage), "a\U00010D50");
  EXPECT_EQ(with_known_characters("a\u6F22", storage), "a\u6F22");
}

TEST(NormalForms, ComposeDecomposeAndOrderMarks) {
  EXPECT_EQ(normal_form("e\u0301 \u212B", NormalForm::kNfc), "\u00E9 \u00C5");
  EXPECT_EQ(normal_form("\u00E9", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normal_form("\uFB01\u00B2", NormalForm::kNfkc), "fi2");
  EXPECT_EQ(normal_form("\u1112\u1161\u11AB", NormalForm::kNfc), "\uD55C");
  // Marks are ordered by class, those of one class keep their order.
  EXPECT_EQ(normal_form("q\u0301\u0316\u0307\u0323", NormalForm::kNfd), "q\u0316\u0323\u0301\u0307");
  EXPECT_EQ(normal_form(std::string("a\0b", 3), NormalForm::kNfkc), std::string("a\0b", 3));
}

TEST(NormalForms, LeaveCharactersThatTheReferenceDoesNotKnow) {
  EXPECT_EQ(normal_form("\u32FF\u32C0", NormalForm::kNfkc), "\u32FF1\u6708");
  EXPECT_EQ(normal_form("\U00011935\U00011930", NormalForm::kNfc), "\U00011935\U00011930");
  // A mark without class, to the reference, keeps others from passing it.
  EXPECT_EQ(normal_form("q\u0345\u1ABF\u0334", NormalForm::kNfd), "q\u0345\u1ABF\u0334");
}

TEST(NormalForms, AreIdempotent) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i)
      append_utf8(text, random() % 2 == 0 ? 0x300 + random() % 0x70 : 0x41 + random() % 0x400);
    for (const NormalForm form : {NormalForm::kNfc, NormalForm::kNfd, NormalForm::kNfkc, NormalForm::kNfkd}) {
      const std::string once = normal_form(text, form);
      EXPECT_EQ(normal_form(once, form), once);
    }
    EXPECT_EQ(normal_form(normal_form(text, NormalForm::kNfd), NormalForm::kNfc), normal_form(text, NormalForm::kNfc));
  }
}

using Split = std::vector<std::pair<std::string, TokenId>>;

Split split(const AddedTokens& tokens, std::string_view text, bool special = true) {
  Split out;
  for (const AddedTokens::Part& part : tokens.split(text, special))
    out.emplace_back(part.text, part.token == nullptr ? -1 : part.token->id);
  return out;
}

TEST(AddedTokens, LongestWinsAndPartsCoverTheText) {
  const AddedTokens tokens =
      *AddedTokens::build({{.id = 1, .text = "ab", .special = true}, {.id = 2, .text = "abc"}, {.id = 3, .text = ""}});
  EXPECT_THAT(split(tokens, "xabcabx"), ElementsAre(Pair("x", -1), Pair("abc", 2), Pair("ab", 1), Pair("x", -1)));
  EXPECT_THAT(split(tokens, "abxabc", false), ElementsAre(Pair("abx", -1), Pair("abc", 2)));
  EXPECT_TRUE(split(tokens, "").empty());
}

TEST(AddedTokens, FlagsTakeSpaceAndAskForWholeWords) {
  const AddedTokens tokens = *AddedTokens::build({{.id = 1, .text = "<m>", .left_strip = true, .right_strip = true},
                                                  {.id = 2, .text = "it", .single_word = true}});
  EXPECT_THAT(split(tokens, "a  <m>\t b"), ElementsAre(Pair("a", -1), Pair("  <m>\t ", 1), Pair("b", -1)));
  EXPECT_THAT(split(tokens, "it bit it\u00E9"), ElementsAre(Pair("it", 2), Pair(" bit it\u00E9", -1)));
}

std::vector<std::string> pieces_of(PreTokenizerStep step, std::string text) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add(std::move(step));
  const auto length = static_cast<uint32_t>(text.size());
  Pieces pieces{std::move(text), {length}};
  auto workspace = pre_tokenizer.workspace();
  EXPECT_TRUE(pre_tokenizer.run(pieces, true, workspace).ok());
  std::vector<std::string> out;
  uint32_t begin = 0;
  for (const uint32_t end : pieces.ends) {
    out.push_back(pieces.text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

TEST(PreTokenizerSteps, BehaviorsOfASplit) {
  const auto with = [](SplitBehavior behavior, bool invert = false) {
    return pieces_of(SplitStep{*Pattern::compile("-"), behavior, invert}, "the-final--countdown");
  };
  EXPECT_THAT(with(SplitBehavior::kIsolated), ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(with(SplitBehavior::kRemoved), ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(with(SplitBehavior::kContiguous), ElementsAre("the", "-", "final", "--", "countdown"));
  EXPECT_THAT(with(SplitBehavior::kMergedWithPrevious), ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(with(SplitBehavior::kMergedWithNext), ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(with(SplitBehavior::kRemoved, true), ElementsAre("-", "-", "-"));
}

TEST(PreTokenizerSteps, DigitsAndPunctuation) {
  EXPECT_THAT(pieces_of(DigitsStep{true}, "a12\u00BD"), ElementsAre("a", "1", "2", "\u00BD"));
  EXPECT_THAT(pieces_of(DigitsStep{false}, "a12\u00BDb"), ElementsAre("a", "12\u00BD", "b"));
  EXPECT_THAT(pieces_of(PunctuationStep{SplitBehavior::kContiguous}, "a$!\u3002b"), ElementsAre("a", "$!\u3002", "b"));
}

TEST(PreTokenizerSteps, EmptyMatchesCut) {
  EXPECT_THAT(pieces_of(SplitStep{*Pattern::compile("(?=[A-Z])")}, "camelCaseX"), ElementsAre("camel", "Case", "X"));
}

}  // namespace
}  // namespace loci
