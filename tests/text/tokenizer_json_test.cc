#include "text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace loci {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A vocabulary over characters with one merge, to be changed by each test.
json minimal() {
  return json::parse(R"({
    "added_tokens": [{"id": 5, "content": "<s>", "special": true}],
    "model": {"type": "BPE", "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3, "c": 4}, "merges": [["a", "b"]], "unk_token": "u"}
  })");
}

Result<std::unique_ptr<Tokenizer>> load(const json& source, std::string_view config = "") {
  return load_tokenizer_json(source.dump(), config, Metadata());
}

void expect_error(const json& source, ErrorCode code, const std::string& part) {
  const auto tokenizer = load(source);
  ASSERT_FALSE(tokenizer.ok()) << source.dump();
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_THAT(tokenizer.error().message, HasSubstr(part));
}

TEST(TokenizerJsonFile, MergesAndFindsAddedTokens) {
  const auto tokenizer = load(minimal());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_THAT(*(*tokenizer)->encode("abc<s>xa"), ElementsAre(3, 4, 5, 0, 1));
  EXPECT_EQ((*tokenizer)->vocab_size(), 6u);
}

TEST(TokenizerJsonFile, MergesMayBeStringsToo) {
  json source = minimal();
  source["model"]["merges"] = {"a b"};
  EXPECT_THAT(*(*load(source))->encode("ab"), ElementsAre(3));
}

TEST(TokenizerJsonFile, ConfigNamesBosAndEos) {
  const auto plain = load(minimal(), R"({"bos_token": "<s>", "eos_token": {"content": "c"}})");
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ((*plain)->bos(), 5);
  EXPECT_EQ((*plain)->eos(), 4);
  EXPECT_TRUE((*plain)->is_end(4));
}

TEST(TokenizerJsonFile, UnsupportedComponentsAreNamed) {
  for (const auto& [field, type] :
       {std::pair("normalizer", "Precompiled"), std::pair("pre_tokenizer", "UnicodeScripts"),
        std::pair("decoder", "WordPiece"), std::pair("post_processor", "Nonesuch")}) {
    json source = minimal();
    source[field] = {{"type", type}};
    expect_error(source, ErrorCode::kUnsupported, type);
  }
  json source = minimal();
  source["model"]["type"] = "Unigram";
  expect_error(source, ErrorCode::kUnsupported, "Unigram");
  source = minimal();
  source["model"]["continuing_subword_prefix"] = "##";
  expect_error(source, ErrorCode::kUnsupported, "##");
  source = minimal();
  source["model"]["dropout"] = 0.1;
  expect_error(source, ErrorCode::kUnsupported, "dropout");
  source = minimal();
  source["pre_tokenizer"] = {{"type", "ByteLevel"}};
  expect_error(source, ErrorCode::kUnsupported, "both be ByteLevel");
  source = minimal();
  source["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "[a&&b]"}}}, {"behavior", "Isolated"}};
  expect_error(source, ErrorCode::kUnsupported, "intersection");
}

TEST(TokenizerJsonFile, WrongVocabulariesAreErrors) {
  json source = minimal();
  source["model"]["merges"] = json::array({json::array({"a", "zz"})});
  expect_error(source, ErrorCode::kCorrupt, "zz");
  source = minimal();
  source["model"]["vocab"]["b"] = 1;
  expect_error(source, ErrorCode::kCorrupt, "both have id 1");
  source = minimal();
  source["model"]["vocab"]["b"] = 4000000000u;
  expect_error(source, ErrorCode::kCorrupt, "4000000000");
  source = minimal();
  source["model"]["vocab"]["b"] = -1;
  expect_error(source, ErrorCode::kCorrupt, "-1");
  source = minimal();
  source["model"]["vocab"] = json::object();
  expect_error(source, ErrorCode::kCorrupt, "vocab");
  source = minimal();
  source["model"]["unk_token"] = "nonesuch";
  expect_error(source, ErrorCode::kCorrupt, "nonesuch");
  source = minimal();
  source["added_tokens"][0]["id"] = 2;
  expect_error(source, ErrorCode::kCorrupt, "both have id 2");
  source = minimal();
  source["added_tokens"][0]["content"] = std::string(2000, 'x');
  expect_error(source, ErrorCode::kLimit, "2000 bytes");
  EXPECT_FALSE(load_tokenizer_json("[1, 2", "", Metadata()).ok());
  EXPECT_FALSE(load_tokenizer_json("[1, 2]", "", Metadata()).ok());
}

// A pattern from outside that backtracks exponentially ends in an error, not in a hang.
TEST(TokenizerJsonFile, WildPatternsHitALimit) {
  json source = minimal();
  source["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}};
  const auto tokenizer = load(source);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto ids = (*tokenizer)->encode(std::string(5000, 'a') + "b");
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kLimit);
}

}  // namespace
}  // namespace loci
