// Long runs that backtracking expressions, quadratic merging or sorting would choke on. Each must take well under a
// second; the limits leave room for slow machines and sanitizers, and quadratic time would pass them a thousandfold.
#include <gtest/gtest.h>

#include <ctime>

#include "text/gguf_tokenizer.h"
#include "text/vocabularies.h"

namespace loci {
namespace {

constexpr size_t kBytes = 1'000'000;

std::string repeated(std::string_view unit) {
  std::string text;
  while (text.size() + unit.size() <= kBytes) text += unit;
  return text;
}

std::vector<std::string> hostile_texts() {
  std::vector<std::string> texts;
  for (const char* unit : {"a", " ", "\n", "1", "\xFF", "!", "A", "'s", " a", " \n", "\r\n", "\u0301", "\u6F22",
                           "\u2581", "<|im_", "\t", "\u0130"}) {
    texts.push_back(repeated(unit));
  }
  const std::string half = repeated("\u0301").substr(0, kBytes / 2), other = repeated("\u0316").substr(0, kBytes / 2);
  texts.push_back("a" + half + other);        // marks out of order: sorting them pairwise is quadratic
  texts.push_back(repeated(" ") + "x");       // white space that does not end the text
  texts.push_back(repeated("a") + "\u6F22");  // a word that an expression could give back letter by letter
  return texts;
}

void expect_fast(const Tokenizer& tokenizer) {
  for (const std::string& text : hostile_texts()) {
    const std::clock_t start = std::clock();  // the processor's time: a busy machine takes none
    const auto ids = tokenizer.encode(text, {.add_special = false});
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_LT(seconds, 20) << tokenizer.kind() << " on " << text.substr(0, 8);
  }
}

class HostileText : public ::testing::TestWithParam<const char*> {};

TEST_P(HostileText, TakesLinearTime) {
  const auto tokenizer = load_gguf_tokenizer(
      testing::byte_level_metadata(GetParam(), {"a a", "aa aa", "aaaa aaaa", "1 1", "\u0120 \u0120"}, {"<|im_end|>"}));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_fast(**tokenizer);
}

INSTANTIATE_TEST_SUITE_P(All, HostileText,
                         ::testing::Values("default", "llama-bpe", "gpt-2", "qwen2", "smollm", "command-r", "falcon",
                                           "deepseek-llm", "deepseek-coder", "deepseek-v3", "tekken", "gpt-4o"));

TEST(HostileTextPieces, SentencePieceTakesLinearTime) {
  std::vector<testing::Piece> pieces = {{"\u2581", -5},       {"a", -5},       {"aa", -4},    {"aaaa", -3},
                                        {"\u2581\u2581", -4}, {"\u2581a", -2}, {"\n\n", 0, 4}};
  const auto tokenizer = load_gguf_tokenizer(testing::sentencepiece_metadata(pieces));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_fast(**tokenizer);
}

}  // namespace
}  // namespace loci
