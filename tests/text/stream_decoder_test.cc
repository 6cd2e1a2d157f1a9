#include <gtest/gtest.h>

#include <random>

#include "text/gguf_tokenizer.h"
#include "text/unicode.h"
#include "text/vocabularies.h"

namespace loci {
namespace {

using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> bytes_tokenizer() {
  return *load_gguf_tokenizer(testing::byte_level_metadata("gpt-2", {}, {"<|im_end|>"}));
}

TEST(StreamDecoder, HoldsBackHalfACharacter) {
  const auto tokenizer = bytes_tokenizer();
  StreamDecoder stream(*tokenizer);
  const Ids ids = *tokenizer->encode("\u6F22!", {.add_special = false});
  ASSERT_EQ(ids.size(), 4u);
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.push(ids[1]), "");
  EXPECT_EQ(stream.push(ids[2]), "\u6F22");
  EXPECT_EQ(stream.push(ids[3]), "!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, UnfinishedCharacterBecomesAReplacementAtTheEnd) {
  const auto tokenizer = bytes_tokenizer();
  StreamDecoder stream(*tokenizer);
  const Ids ids = *tokenizer->encode("\u6F22", {.add_special = false});
  EXPECT_EQ(stream.push(ids[0]), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(StreamDecoder, SpaceBeforeTextIsDroppedOnce) {
  const auto tokenizer = *load_gguf_tokenizer(testing::sentencepiece_metadata({{"\u2581", -5}, {"a", -5}, {"\u2581a", -1}}));
  StreamDecoder stream(*tokenizer, true);
  EXPECT_EQ(stream.push(1), "<s>");
  EXPECT_EQ(stream.push(261), "a");
  EXPECT_EQ(stream.push(261), " a");
  StreamDecoder alone(*tokenizer);
  EXPECT_EQ(alone.push(1), "");
  EXPECT_EQ(alone.push(259), "");  // the space itself
  EXPECT_EQ(alone.push(261), " a");
}

// Any sequence of ids: every push is valid UTF-8, and all together are the decoded bytes with what is invalid replaced.
TEST(StreamDecoder, PushesWholeCharactersOfAnyIds) {
  const auto tokenizer = bytes_tokenizer();
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    Ids ids;
    const size_t length = random() % 30;
    while (ids.size() < length) {
      // Half of the time the bytes of a character, so that valid text is common.
      if (random() % 2 == 0) {
        std::string character;
        append_utf8(character, 0x80 + random() % 0x700);
        append_utf8(character, 0x1F600 + random() % 64);
        const Ids part = *tokenizer->encode(character, {.add_special = false});
        ids.insert(ids.end(), part.begin(), part.end() - static_cast<ptrdiff_t>(random() % 2));
      } else {
        ids.push_back(static_cast<TokenId>(random() % 257));
      }
    }
    StreamDecoder stream(*tokenizer, true);
    std::string joined, storage;
    for (const TokenId id : ids) {
      const std::string text = stream.push(id);
      EXPECT_EQ(valid_utf8(text, InvalidUtf8::kPerByte, storage), text);
      joined += text;
    }
    joined += stream.finish();
    const std::string bytes = *tokenizer->decode(ids, true);
    EXPECT_EQ(joined, valid_utf8(bytes, InvalidUtf8::kPerSequence, storage));
  }
}

}  // namespace
}  // namespace loci
