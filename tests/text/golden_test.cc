// Small vocabularies of every kind against the ids of the reference libraries (tools/tokenizers/goldens.py).
#include <gtest/gtest.h>

#include <algorithm>

#include "text/gguf_tokenizer.h"
#include "text/normalizer.h"
#include "text/tokenizer_json.h"
#include "text/vocabularies.h"

namespace loci {
namespace {

using nlohmann::json;
using testing::metadata_of;
using testing::read_goldens;
using testing::Strings;
using Ids = std::vector<TokenId>;

std::unique_ptr<Tokenizer> loaded(Result<std::unique_ptr<Tokenizer>> tokenizer) {
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

// `reading` holds the ids of every text with special tokens read and, where they differ, as plain text.
void expect_reading(const Tokenizer& tokenizer, const json& texts, const json& reading, bool add_special) {
  ASSERT_GE(texts.size(), 100u);
  ASSERT_EQ(reading["ids"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i];
    const Ids special = reading["ids"][i].get<Ids>();
    const Ids plain = reading["plain"][i].is_null() ? special : reading["plain"][i].get<Ids>();
    EXPECT_EQ(*tokenizer.encode(text, {.add_special = add_special}), special) << text;
    EXPECT_EQ(*tokenizer.encode(text, {.add_special = add_special, .parse_special = false}), plain) << text;
  }
}

const json& byte_level() {
  static const json goldens = read_goldens("byte_level");
  return goldens;
}

// What byte_level.json says of one family: the texts are grouped by the families that agree on their ids.
json reading_of(const std::string& family) {
  json reading = {{"ids", json::array()}, {"plain", json::array()}};
  for (const json& groups : byte_level()["groups"]) {
    for (const json& group : groups) {
      const Strings families = group["families"];
      if (std::find(families.begin(), families.end(), family) == families.end()) continue;
      reading["ids"].push_back(group["ids"]);
      reading["plain"].push_back(group["plain"]);
    }
  }
  return reading;
}

// The same vocabulary with a family's own steps, as a tokenizer.json has them.
std::string tokenizer_json(const json& gguf, const json& steps) {
  json vocab = json::object(), added = json::array();
  for (size_t i = 0; i < gguf["tokens"].size(); ++i) {
    const std::string text = gguf["tokens"][i];
    vocab[text] = i;
    if (gguf["token_type"][i] == 1) continue;
    added.push_back({{"id", i}, {"content", text}, {"special", gguf["token_type"][i] != 4}, {"normalized", false}});
  }
  const json model = {
      {"type", "BPE"}, {"vocab", vocab}, {"merges", gguf["merges"]}, {"ignore_merges", steps["ignore_merges"]}};
  json root = steps;
  root["added_tokens"] = added;
  root["model"] = model;
  return root.dump();
}

class Family : public ::testing::TestWithParam<const char*> {};

TEST_P(Family, MatchesTheReference) {
  const json& goldens = byte_level();
  Metadata metadata = metadata_of(goldens["gguf"]);
  metadata.set("tokenizer.ggml.pre", std::string(GetParam()));
  const auto tokenizer = loaded(load_gguf_tokenizer(metadata));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), std::string("bpe/") + GetParam());
  expect_reading(*tokenizer, goldens["texts"], reading_of(GetParam()), false);
}

TEST_P(Family, MatchesTheReferenceFromTokenizerJson) {
  const std::string source = tokenizer_json(byte_level()["gguf"], byte_level()["steps"][GetParam()]);
  const auto tokenizer = loaded(load_tokenizer_json(source, "", Metadata()));
  ASSERT_NE(tokenizer, nullptr);
  expect_reading(*tokenizer, byte_level()["texts"], reading_of(GetParam()), false);
}

TEST_P(Family, DecodingRestoresTheText) {
  const json& goldens = byte_level();
  Metadata metadata = metadata_of(goldens["gguf"]);
  metadata.set("tokenizer.ggml.pre", std::string(GetParam()));
  const auto tokenizer = loaded(load_gguf_tokenizer(metadata));
  ASSERT_NE(tokenizer, nullptr);
  const bool composes = GetParam() == std::string("qwen2") || GetParam() == std::string("command-r");
  for (const std::string text : goldens["texts"]) {
    const std::string expected = composes ? normal_form(text, NormalForm::kNfc) : text;
    EXPECT_EQ(*tokenizer->decode(*tokenizer->encode(text, {.add_special = false}), true), expected);
    EXPECT_EQ(*tokenizer->decode(*tokenizer->encode(text, {.add_special = false, .parse_special = false}), false),
              expected);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Family,
                         ::testing::Values("default", "llama-bpe", "dbrx", "gpt-2", "qwen2", "deepseek-r1-qwen",
                                           "smollm", "starcoder", "command-r", "falcon", "deepseek-llm",
                                           "deepseek-coder", "deepseek-v3", "tekken", "gpt-4o"));

class SentencePiece : public ::testing::TestWithParam<const char*> {};

TEST_P(SentencePiece, MatchesTheReference) {
  const json goldens = read_goldens(GetParam());
  const auto tokenizer = loaded(load_gguf_tokenizer(metadata_of(goldens["gguf"])));
  ASSERT_NE(tokenizer, nullptr);
  const bool lossless = GetParam() != std::string("sentencepiece_unknown");
  for (size_t i = 0; i < goldens["texts"].size(); ++i) {
    const std::string text = goldens["texts"][i];
    const Ids ids = *tokenizer->encode(text, {.add_special = false, .parse_special = false});
    EXPECT_EQ(ids, goldens["plain"][i].get<Ids>()) << text;
    if (lossless && text.find("\u2581") == std::string::npos) {
      EXPECT_EQ(*tokenizer->decode(ids), text);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SentencePiece,
                         ::testing::Values("sentencepiece_bytes", "sentencepiece_symbols", "sentencepiece_unknown"));

class TokenizerJson : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerJson, MatchesTheReference) {
  const json goldens = read_goldens(GetParam());
  const std::string source = goldens["tokenizer_json"];
  const auto tokenizer = loaded(load_tokenizer_json(source, "", Metadata()));
  ASSERT_NE(tokenizer, nullptr);
  expect_reading(*tokenizer, goldens["texts"], goldens, true);
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerJson,
                         ::testing::Values("json_llama2", "json_gemma", "json_metaspace", "json_metaspace_split",
                                           "json_byte_level"));

// The model that ships in the repository.
TEST(ShippedModel, ReadsTextAndGivesItBack) {
  const auto file = open_model_file(std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto tokenizer = loaded(Tokenizer::load(**file));
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_EQ(tokenizer->kind(), "bpe/smollm");
  EXPECT_EQ(tokenizer->vocab_size(), 4096u);
  const std::string text = "The magic number is 40 312, said Ishmael \u2014 na\u00EFvely.";
  const Ids ids = *tokenizer->encode(text);
  ASSERT_FALSE(ids.empty());
  EXPECT_EQ(ids.front(), tokenizer->bos());
  EXPECT_EQ(*tokenizer->decode(ids), text);
  EXPECT_TRUE(tokenizer->is_end(tokenizer->eos()));
  EXPECT_FALSE(tokenizer->is_end(tokenizer->bos()));
}

}  // namespace
}  // namespace loci
