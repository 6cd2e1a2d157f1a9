// Any bytes, valid UTF-8 or not: the ids spell the repaired text.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/gguf_tokenizer.h"
#include "text/unicode.h"
#include "text/vocabularies.h"

namespace loci {
namespace {

const std::vector<std::string> kParts = {"a",        " ",        "\n",     "1",     "\xC3",         "\xA9",
                                         "\xF0\x9F", "\x98\x80", "\xFF",   "'s",    "\xED\xA0\x80", "<|im_end|>",
                                         "</s>",     "aa",       "\u0301", "\u6F22"};

void expect_restored(const Tokenizer& tokenizer, InvalidUtf8 policy, bool parse_special) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t n = random() % 24; n > 0; --n) text += kParts[random() % kParts.size()];
    std::string storage;
    const std::string expected(valid_utf8(text, policy, storage));
    const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = parse_special});
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*tokenizer.decode(*ids, true), expected) << tokenizer.kind();
  }
}

TEST(Tokenizer, ByteLevelRestoresAnyBytesUpToRepair) {
  for (const char* family : {"default", "llama-bpe", "gpt-2", "smollm", "falcon", "deepseek-llm", "deepseek-coder",
                             "deepseek-v3", "tekken", "gpt-4o"}) {
    const auto tokenizer =
        load_gguf_tokenizer(testing::byte_level_metadata(family, {"a a", "\u0120 a", "1 1"}, {"<|im_end|>"}));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    for (const bool special : {false, true}) expect_restored(**tokenizer, InvalidUtf8::kPerSequence, special);
  }
}

TEST(Tokenizer, SentencePieceRestoresAnyBytesUpToRepair) {
  for (const bool prefix : {false, true}) {
    const auto tokenizer = load_gguf_tokenizer(
        testing::sentencepiece_metadata({{"\u2581", -3}, {"a", -3}, {"aa", -2}, {"\u2581a", -1}}, true, prefix));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    expect_restored(**tokenizer, InvalidUtf8::kPerByte, false);
  }
}

}  // namespace
}  // namespace loci
