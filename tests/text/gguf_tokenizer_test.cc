#include "text/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "text/vocabularies.h"

namespace loci {
namespace {

using testing::byte_level_metadata;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::sentencepiece_metadata;
using testing::Strings;
using Ids = std::vector<TokenId>;

constexpr EncodeOptions kBare = {.add_special = false};

std::unique_ptr<Tokenizer> load(const Metadata& metadata) {
  auto tokenizer = load_gguf_tokenizer(metadata);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return std::move(*tokenizer);
}

void expect_error(const Metadata& metadata, ErrorCode code, const std::string& part) {
  const auto tokenizer = load_gguf_tokenizer(metadata);
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_THAT(tokenizer.error().message, HasSubstr(part));
}

TEST(GgufBpe, MergesByRankNotByPosition) {
  // "bc" came first in training, so "abc" is a + bc though ab stands to the left.
  const auto tokenizer = load(byte_level_metadata("gpt-2", {"b c", "a b"}));
  EXPECT_THAT(*tokenizer->encode("abc", kBare), ElementsAre(*tokenizer->encode("a", kBare)->begin(), 256));
}

TEST(GgufBpe, LeftmostOfEqualPairsMergesFirst) {
  const auto tokenizer = load(byte_level_metadata("gpt-2", {"a a"}));
  EXPECT_THAT(*tokenizer->encode("aaa", kBare), ElementsAre(256, 'a'));
}

TEST(GgufBpe, IgnoreMergesTakesWholePiecesThatNoMergeMakes) {
  Metadata llama = byte_level_metadata("llama-bpe", {"x y"}), gpt2 = byte_level_metadata("gpt-2", {"x y"});
  for (Metadata* metadata : {&llama, &gpt2}) {
    Strings tokens = std::get<Strings>(*metadata->find("tokenizer.ggml.tokens"));
    auto types = std::get<std::vector<int64_t>>(*metadata->find("tokenizer.ggml.token_type"));
    tokens.push_back("whole");
    types.push_back(1);
    metadata->set("tokenizer.ggml.tokens", tokens);
    metadata->set("tokenizer.ggml.token_type", types);
  }
  EXPECT_THAT(*load(llama)->encode("whole", kBare), ElementsAre(257));
  EXPECT_EQ(load(gpt2)->encode("whole", kBare)->size(), 5u);
}

TEST(GgufBpe, BosFollowsTheFileThenTheFamily) {
  for (const auto& [family, expected] : {std::pair("llama-bpe", true), std::pair("gpt-2", false)}) {
    Metadata metadata = byte_level_metadata(family, {}, {"<|bos|>", "<|eos|>"});
    metadata.set("tokenizer.ggml.bos_token_id", uint64_t{256});
    metadata.set("tokenizer.ggml.eos_token_id", uint64_t{257});
    EXPECT_EQ(load(metadata)->encode("a")->front() == 256, expected) << family;
    metadata.set("tokenizer.ggml.add_bos_token", !expected);
    metadata.set("tokenizer.ggml.add_eos_token", true);
    const Ids ids = *load(metadata)->encode("a");
    EXPECT_EQ(ids.front() == 256, !expected) << family;
    EXPECT_EQ(ids.back(), 257);
  }
}

TEST(GgufBpe, SpecialTextIsPlainOnRequest) {
  const auto tokenizer = load(byte_level_metadata("gpt-2", {}, {"<|im_end|>"}));
  EXPECT_THAT(*tokenizer->encode("a<|im_end|>b", kBare), ElementsAre('a', 256, 'b'));
  EXPECT_EQ(tokenizer->encode("<|im_end|>", {.add_special = false, .parse_special = false})->size(), 10u);
  EXPECT_EQ(*tokenizer->piece(256), "");
  EXPECT_EQ(*tokenizer->piece(256, true), "<|im_end|>");
}

TEST(GgufBpe, EndsAreEosTurnIdsAndKnownControlTexts) {
  Metadata metadata =
      byte_level_metadata("gpt-2", {}, {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<turn>", "<list>"});
  metadata.set("tokenizer.ggml.eot_token_id", uint64_t{259});
  metadata.set("loci.eos_token_ids", std::vector<int64_t>{260});
  const auto tokenizer = load(metadata);
  Ids ends;
  for (TokenId id = 0; id < 261; ++id) {
    if (tokenizer->is_end(id)) ends.push_back(id);
  }
  EXPECT_THAT(ends, ElementsAre(256, 258, 259, 260));
  EXPECT_EQ(tokenizer->eos(), -1);
}

TEST(GgufBpe, InvalidUtf8BecomesReplacementCharacters) {
  const auto tokenizer = load(byte_level_metadata("gpt-2"));
  EXPECT_EQ(*tokenizer->decode(*tokenizer->encode("a\xFF\xE6\xBC", kBare)), "a\uFFFD\uFFFD");
}

TEST(GgufBpe, ErrorsNameWhatIsWrong) {
  expect_error(byte_level_metadata("nonesuch"), ErrorCode::kUnsupported, "llama-bpe, ");
  expect_error(byte_level_metadata("gpt-2", {"a b", "ab missing"}), ErrorCode::kCorrupt, "missing");
  Metadata metadata = byte_level_metadata("gpt-2");
  metadata.set("tokenizer.ggml.merges", Strings{"ab"});
  expect_error(metadata, ErrorCode::kCorrupt, "not two tokens");
  metadata = byte_level_metadata("gpt-2");
  metadata.set("tokenizer.ggml.bos_token_id", uint64_t{256});
  expect_error(metadata, ErrorCode::kCorrupt, "bos_token_id is 256");
  metadata = byte_level_metadata("gpt-2");
  metadata.set("tokenizer.ggml.token_type", std::vector<int64_t>{1});
  expect_error(metadata, ErrorCode::kCorrupt, "token_type has 1");
  metadata = byte_level_metadata("gpt-2");
  metadata.set("tokenizer.ggml.token_type", std::vector<int64_t>(256, 9));
  expect_error(metadata, ErrorCode::kCorrupt, "is 9");
  metadata = byte_level_metadata("gpt-2");
  metadata.set("tokenizer.ggml.tokens", Strings{"a", "b", "a"});
  metadata.set("tokenizer.ggml.token_type", std::vector<int64_t>{1, 1, 1});
  expect_error(metadata, ErrorCode::kCorrupt, "tokens 0 and 2 are both 'a'");
  metadata.set("tokenizer.ggml.tokens", Strings{});
  expect_error(metadata, ErrorCode::kCorrupt, "empty");
  metadata.set("tokenizer.ggml.tokens", std::vector<int64_t>{1, 2});
  expect_error(metadata, ErrorCode::kCorrupt, "wrong type");
  metadata.set("tokenizer.ggml.model", std::string("bert"));
  expect_error(metadata, ErrorCode::kUnsupported, "'bert'");
}

TEST(GgufBpe, IdsOutsideTheVocabularyAreErrors) {
  const auto tokenizer = load(byte_level_metadata("gpt-2"));
  for (const TokenId id : {-1, 256, std::numeric_limits<TokenId>::max()}) {
    EXPECT_EQ(tokenizer->piece(id).error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(tokenizer->decode(std::vector<TokenId>{0, id}).ok());
  }
}

TEST(GgufSentencePiece, HighestScoreMergesFirst) {
  const auto tokenizer =
      load(sentencepiece_metadata({{"a", -9}, {"b", -9}, {"c", -9}, {"ab", -2}, {"bc", -1}}, true, false));
  EXPECT_THAT(*tokenizer->encode("abc", kBare), ElementsAre(259, 263));
  EXPECT_THAT(*tokenizer->encode("aab", kBare), ElementsAre(259, 262));
}

TEST(GgufSentencePiece, SpaceBeforeTextComesAndGoes) {
  const std::vector<testing::Piece> pieces = {{"\u2581", -5}, {"a", -5}, {"\u2581a", -1}};
  const auto with = load(sentencepiece_metadata(pieces)), without = load(sentencepiece_metadata(pieces, true, false));
  EXPECT_THAT(*with->encode("a a", kBare), ElementsAre(261, 261));
  EXPECT_THAT(*without->encode("a a", kBare), ElementsAre(260, 261));
  EXPECT_EQ(*with->decode(Ids{261, 261}), "a a");
  EXPECT_EQ(*without->decode(Ids{261, 261}), " a a");
  EXPECT_THAT(*with->encode(""), ElementsAre(1));
  // After a control token a text begins anew.
  EXPECT_THAT(*with->encode("a</s>a", kBare), ElementsAre(261, 2, 261));
  EXPECT_EQ(*with->decode(Ids{261, 2, 261}, true), "a</s>a");
}

TEST(GgufSentencePiece, UnknownCharactersFallBackToBytesOrOneUnknown) {
  EXPECT_THAT(*load(sentencepiece_metadata({{"a", 0}}, true, false))->encode("a\u6F22", kBare),
              ElementsAre(259, 3 + 0xE6, 3 + 0xBC, 3 + 0xA2));
  EXPECT_THAT(*load(sentencepiece_metadata({{"a", 0}}, false, false))->encode("\u6F22\u6F22a\u6F22", kBare),
              ElementsAre(0, 3, 0));
}

TEST(GgufSentencePiece, UserDefinedTextIsNeverCut) {
  const auto tokenizer =
      load(sentencepiece_metadata({{"a", -1}, {"aa", -1}, {"a\n", -1}, {"\n\n", 0, 4}}, true, false));
  EXPECT_THAT(*tokenizer->encode("aa\n\naa", {.add_special = false, .parse_special = false}),
              ElementsAre(260, 262, 260));
}

TEST(GgufSentencePiece, UnusedPiecesHelpMergingThenFallApart) {
  const auto tokenizer =
      load(sentencepiece_metadata({{"a", -9}, {"b", -9}, {"c", -9}, {"ab", -1, 5}, {"abc", -2}}, true, false));
  EXPECT_THAT(*tokenizer->encode("abcab", kBare), ElementsAre(263, 259, 260));
}

TEST(GgufSentencePiece, ErrorsNameWhatIsWrong) {
  Metadata metadata = sentencepiece_metadata({{"a", 0}});
  metadata.set("tokenizer.ggml.scores", std::vector<double>{0.0});
  expect_error(metadata, ErrorCode::kCorrupt, "1 scores");
  expect_error(sentencepiece_metadata({{"a", 0}, {"a", 0}}), ErrorCode::kCorrupt, "are both 'a'");
  expect_error(sentencepiece_metadata({{"a", std::numeric_limits<double>::quiet_NaN()}}), ErrorCode::kCorrupt,
               "no number");
  expect_error(sentencepiece_metadata({{"0x41", 0, 6}}), ErrorCode::kCorrupt, "byte token 259");
  metadata = sentencepiece_metadata({{"a", 0}});
  metadata.set("tokenizer.ggml.remove_extra_whitespaces", true);
  expect_error(metadata, ErrorCode::kUnsupported, "remove_extra_whitespaces");
}

}  // namespace
}  // namespace loci
