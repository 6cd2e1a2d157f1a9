// Tables, terminal text, haystacks, workloads: the pure functions under the commands.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "cli/haystack.h"
#include "cli/table.h"
#include "cli/terminal_text.h"
#include "cli/workload.h"

namespace loci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(TerminalText, KeepsWhatIsPrintable) {
  const std::string text = "plain, caf\xc3\xa9, \xe6\xbc\xa2\xe5\xad\x97, \xf0\x9f\x90\x8b";
  EXPECT_EQ(terminal_text(text), text);
}

TEST(TerminalText, EscapesWhatActsOnTheTerminal) {
  EXPECT_EQ(terminal_text("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(terminal_text("a\nb\tc\r\x7f"), "a\\nb\\tc\\r\\x7f");
  EXPECT_EQ(terminal_text("a\nb\tc\r", LineBreaks::kKeep), "a\nb\tc\\r");
  EXPECT_EQ(terminal_text("\xc2\x9b"
                          "31m"),
            "\\u009b31m");                                            // C1 control sequence introducer
  EXPECT_EQ(terminal_text("\xe2\x80\xaetxt.exe"), "\\u202etxt.exe");  // right-to-left override
  EXPECT_EQ(terminal_text(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(TerminalText, BytesThatAreNoUtf8BecomeEscapes) {
  EXPECT_EQ(terminal_text("\xff"), "\\xff");
  EXPECT_EQ(terminal_text("\xc0\x80"), "\\xc0\\x80");                    // overlong
  EXPECT_EQ(terminal_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(terminal_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(terminal_text("\xe2\x82"), "\\xe2\\x82");                    // cut
}

TEST(TerminalText, RandomBytesNeverLetAControlCharacterThrough) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (const char c : terminal_text(bytes)) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

TEST(TerminalExcerpt, CutsByCharacters) {
  EXPECT_EQ(terminal_excerpt("caf\xc3\xa9 au lait", 4), "caf\xc3\xa9...");
  EXPECT_EQ(terminal_excerpt("caf\xc3\xa9", 4), "caf\xc3\xa9");
}

TEST(TextTable, AlignsColumns) {
  TextTable table({{"name"}, {"n", true}});
  table.add({"caf\xc3\xa9", "7"});
  table.add({"x", "1234"});
  EXPECT_EQ(table.text(), "name     n\ncaf\xc3\xa9     7\nx     1234\n");
}

TEST(SplitSentences, EndsWithTheMarkBeforeABlank) {
  EXPECT_THAT(split_sentences("Ho! 3.5 is more. Is it? Yes"), ElementsAre("Ho!", "3.5 is more.", "Is it?", "Yes"));
  EXPECT_THAT(split_sentences(""), ElementsAre());
}

TEST(CollapseWhiteSpace, LeavesSingleBlanks) { EXPECT_EQ(collapse_white_space(" a\r\n\tb  c "), "a b c"); }

// One token a word: enough to check the arithmetic.
Result<uint32_t> count_words(std::string_view text) {
  uint32_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n';
    words += !blank && !inside ? 1 : 0;
    inside = !blank;
  }
  return words;
}

std::string book(size_t sentences) {
  std::string text;
  for (size_t i = 0; i < sentences; ++i) text += "Four words\nmake this.  ";
  return text;
}

TEST(Haystack, HidesTheNeedleWhereItIsTold) {
  for (const double depth : {0.0, 0.25, 0.5, 1.0}) {
    HaystackOptions options;
    options.tokens = 4000;
    options.depth = depth;
    const Result<Haystack> haystack = make_haystack(book(2000), options, count_words);
    ASSERT_TRUE(haystack.ok()) << haystack.error().message;
    const std::string& prompt = haystack->prompt;
    const size_t at = prompt.find(haystack->needle);
    ASSERT_NE(at, std::string::npos);
    EXPECT_NEAR(static_cast<double>(at) / static_cast<double>(prompt.size()), depth, 0.03);
    EXPECT_EQ(prompt.find(haystack->value), prompt.rfind(haystack->value)) << "the answer stands in the needle alone";
    EXPECT_THAT(prompt, HasSubstr(haystack->question));
    EXPECT_TRUE(prompt.ends_with("mentioned in the provided text is"));
    EXPECT_THAT(haystack->needle, HasSubstr(haystack->key));
  }
}

TEST(Haystack, FillsTheTokensAndNoMore) {
  for (const uint32_t tokens : {200u, 1000u, 5000u}) {
    HaystackOptions options;
    options.tokens = tokens;
    const Result<Haystack> haystack = make_haystack(book(4000), options, count_words);
    ASSERT_TRUE(haystack.ok());
    const uint32_t used = *count_words(haystack->prompt) + options.answer_tokens;
    EXPECT_LE(used, tokens);
    EXPECT_GT(used, tokens - 40);
  }
}

TEST(Haystack, SeedsGiveOtherFacts) {
  HaystackOptions options;
  options.tokens = 500;
  const std::string first = make_haystack(book(500), options, count_words)->needle;
  EXPECT_EQ(make_haystack(book(500), options, count_words)->needle, first);
  options.seed = 1;
  EXPECT_NE(make_haystack(book(500), options, count_words)->needle, first);
}

TEST(Haystack, TooShortBooksAndTooFewTokensAreErrors) {
  HaystackOptions options;
  options.tokens = 5000;
  const Result<Haystack> book_too_short = make_haystack(book(10), options, count_words);
  ASSERT_FALSE(book_too_short.ok());
  EXPECT_THAT(book_too_short.error().message, HasSubstr("40 tokens"));
  options.tokens = 20;
  EXPECT_FALSE(make_haystack(book(1000), options, count_words).ok());
}

ModelInfo small_model() {
  ModelInfo info;
  info.weights_bytes = 1000;
  info.kv_bytes_per_token = 10;
  info.macs_per_token = 500;
  info.head_macs = 100;
  info.attention_macs_per_slot = 3;
  return info;
}

TEST(Workload, DecodeReadsWeightsEachStepAndAGrowingCache) {
  const Workload work = decode_workload(small_model(), 2, 4);  // reads 5 and then 6 slots
  EXPECT_DOUBLE_EQ(work.bytes, 2 * 1000 + 10 * 11);
  EXPECT_DOUBLE_EQ(work.linear_macs, 2 * 600);
  EXPECT_DOUBLE_EQ(work.attention_macs, 3 * 11);
}

TEST(Workload, PrefillReadsWeightsOncePerChunk) {
  const Workload work = prefill_workload(small_model(), 5, 10, 2);  // chunks end at 12, 14, 15
  EXPECT_DOUBLE_EQ(work.bytes, 3 * 1000 + 10 * (12 + 14 + 15));
  EXPECT_DOUBLE_EQ(work.linear_macs, 5 * 500 + 100);
  EXPECT_DOUBLE_EQ(work.attention_macs, 3 * (11 + 12 + 13 + 14 + 15));
}

TEST(Workload, SharesOfTheRoof) {
  const Roof roof{.read_bytes_per_second = 100, .int8_macs_per_second = 1000, .f32_macs_per_second = 10};
  const Workload work{.bytes = 50, .linear_macs = 500, .attention_macs = 5};
  EXPECT_DOUBLE_EQ(decode_roof_share(work, roof, 2), 0.25);
  EXPECT_DOUBLE_EQ(prefill_roof_share(work, roof, false, 2), 0.5);   // 0.5 s + 0.5 s
  EXPECT_DOUBLE_EQ(prefill_roof_share(work, roof, true, 101), 0.5);  // 50 s + 0.5 s
  EXPECT_EQ(decode_roof_share(work, roof, 0), 0);
}

TEST(Workload, RatesThatWereNotMeasuredAreNotPrinted) {
  Roof roof{.int8_macs_per_second = 630e9, .f32_macs_per_second = 164e9};
  EXPECT_EQ(compute_rates(roof), "int8 630 GMAC/s, fp32 164 GMAC/s");
  roof.bf16_macs_per_second = 235e9;
  EXPECT_EQ(compute_rates(roof), "int8 630 GMAC/s, bf16 235 GMAC/s, fp32 164 GMAC/s");
  EXPECT_EQ(roof.attention_macs_per_second(), 235e9);
  roof.bf16_macs_per_second = 0;
  EXPECT_EQ(roof.attention_macs_per_second(), 164e9);
  roof.int16_macs_per_second = 300e9;
  EXPECT_EQ(compute_rates(roof), "int8 630 GMAC/s, int16 300 GMAC/s, fp32 164 GMAC/s");
  EXPECT_EQ(roof.attention_macs_per_second(), 300e9);
}

}  // namespace
}  // namespace loci
