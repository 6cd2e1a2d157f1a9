// Text that arrives token by token: whole characters only, and together what decoding at once gives.
#include <gtest/gtest.h>

#include <random>

#include "text/gguf_tokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabularies.h"

namespace loci {
namespace {

using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> load_tokenizer(const Metadata& metadata) {
  auto loaded = load_gguf_tokenizer(metadata);
  if (!loaded.ok()) throw std::runtime_error(loaded.error().message);
  return std::move(*loaded);
}

Metadata bytes_of(const std::string& family) {
  return testing::byte_level_metadata(family, {"a a", "\u0120 \u0120", "\u010A \u010A"}, {"<|im_end|>"});
}

Metadata pieces() {
  return testing::sentencepiece_metadata({{"\u2581", -3}, {"a", -3}, {"ab", -2}, {"\u2581a", -1}, {"\n\n", 0, 4}});
}

bool is_whole(std::string_view text) {
  std::string storage;
  return valid_utf8(text, InvalidUtf8::kPerByte, storage).data() == text.data();
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool special = false) {
  StreamDecoder decoder(tokenizer, special);
  std::string out;
  for (const TokenId id : ids) {
    const std::string part = decoder.push(id);
    EXPECT_TRUE(is_whole(part));
    out += part;
  }
  const std::string rest = decoder.finish();
  EXPECT_TRUE(is_whole(rest));
  return out + rest;
}

std::unique_ptr<Tokenizer> bytes_tokenizer() { return load_tokenizer(bytes_of("gpt-2")); }

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  const auto tokenizer = bytes_tokenizer();
  StreamDecoder decoder(*tokenizer);
  const std::string smile = "\xF0\x9F\x98\x80";
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(decoder.push(static_cast<uint8_t>(smile[i])), i < 3 ? "" : smile);
  }
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, ReplacesWhatCannotBecomeACharacter) {
  const auto tokenizer = bytes_tokenizer();
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(stream(*tokenizer, {0xFF, 'a'}), bad + "a");
  EXPECT_EQ(stream(*tokenizer, {0xC3, 'a'}), bad + "a");
  EXPECT_EQ(stream(*tokenizer, {0xC3}), bad);
  EXPECT_EQ(stream(*tokenizer, {0xE2, 0x82}), bad);
  EXPECT_EQ(stream(*tokenizer, {0xED, 0xA0, 0x80}).find('\xED'), std::string::npos);
}

TEST(StreamDecoder, EqualsDecodingAtOnce) {
  std::mt19937 random(11);
  const std::vector<std::string> parts = {"a",      " ",  "\n", "1",    "\u00E9",     "\U0001F600", "\u6F22",
                                          "\u0301", "ab", "  ", "</s>", "<|im_end|>", "\n\n"};
  for (const Metadata& metadata : {bytes_of("llama-bpe"), bytes_of("falcon"), pieces()}) {
    const auto tokenizer = load_tokenizer(metadata);
    for (int round = 0; round < 500; ++round) {
      std::string text;
      for (size_t n = random() % 16; n > 0; --n) text += parts[random() % parts.size()];
      const Ids ids = tokenizer->encode(text).value();
      for (const bool special : {false, true}) {
        EXPECT_EQ(stream(*tokenizer, ids, special), tokenizer->decode(ids, special).value()) << text;
      }
    }
  }
}

// Ids that no text has: still whole characters, and still the same bytes after repair.
TEST(StreamDecoder, TakesAnyIds) {
  std::mt19937 random(13);
  for (const Metadata& metadata : {bytes_of("gpt-2"), pieces()}) {
    const auto tokenizer = load_tokenizer(metadata);
    for (int round = 0; round < 500; ++round) {
      Ids ids(random() % 12);
      for (TokenId& id : ids) id = static_cast<TokenId>(random() % tokenizer->vocab_size());
      std::string storage;
      const std::string whole = tokenizer->decode(ids).value();
      EXPECT_EQ(stream(*tokenizer, ids), std::string(valid_utf8(whole, InvalidUtf8::kPerSequence, storage)));
    }
  }
}

TEST(StreamDecoder, SkipsIdsOutsideTheVocabulary) {
  const auto tokenizer = bytes_tokenizer();
  EXPECT_EQ(stream(*tokenizer, {'a', -1, INT32_MAX, 'b'}), "ab");
}

}  // namespace
}  // namespace loci
