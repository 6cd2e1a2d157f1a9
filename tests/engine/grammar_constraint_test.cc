// Tokens that a grammar allows, and the budget for finding them.
#include "engine/grammar_constraint.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/model_file.h"
#include "text/json_grammar.h"

namespace loci {
namespace {

using nlohmann::ordered_json;

class GrammarConstraintTest : public testing::Test {
 protected:
  GrammarConstraintTest() {
    const auto file = std::move(*open_model_file(LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf"));
    tokenizer_ = std::move(*Tokenizer::load(*file));
    tokens_ = std::make_shared<const TokenTrie>(*tokenizer_);
  }
  GrammarConstraint constraint(const ordered_json& schema) {
    Result<Grammar> grammar = json_schema_grammar(schema);
    EXPECT_TRUE(grammar.ok()) << (grammar.ok() ? "" : grammar.error().message);
    return GrammarConstraint(std::make_shared<GrammarMasks>(std::move(*grammar), tokens_));
  }
  void take(GrammarConstraint& constraint, const std::string& text) {
    const std::vector<TokenId> tokens = *tokenizer_->encode(text, {.add_special = false});
    for (const TokenId token : tokens) constraint.accept(token);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::shared_ptr<const TokenTrie> tokens_;
};

TEST_F(GrammarConstraintTest, OnlyTokensThatMayComeAreLeft) {
  GrammarConstraint of = constraint({{"enum", {"red", "green"}}});
  std::vector<float> logits(tokens_->vocabulary(), 0.0F);
  ASSERT_TRUE(of.mask(logits).ok());
  size_t left = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isinf(logits[i])) continue;
    ++left;
    const std::string& bytes = tokens_->bytes(static_cast<TokenId>(i));
    EXPECT_TRUE(std::string("\"red\"").starts_with(bytes) || std::string("\"green\"").starts_with(bytes)) << bytes;
  }
  EXPECT_GT(left, 0u);
}

// A reader that may be in 500 places at every byte: no token is found at any price.
TEST_F(GrammarConstraintTest, AMaskThatCostsTooMuchIsAnError) {
  ordered_json ways = ordered_json::array();
  for (int i = 0; i < 500; ++i) {
    ways.push_back({{"type", "array"},
                    {"prefixItems", {{{"type", "string"}}, {{"const", i}}}},
                    {"items", false},
                    {"minItems", 2u}});
  }
  GrammarConstraint of = constraint({{"anyOf", ways}});
  std::vector<float> logits(tokens_->vocabulary(), 0.0F);
  take(of, "[\"");
  const auto begin = std::chrono::steady_clock::now();
  const Status masked = of.mask(logits);
  ASSERT_FALSE(masked.ok());
  EXPECT_EQ(masked.error().code, ErrorCode::kLimit);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // 1 s, and sanitizers
}

TEST_F(GrammarConstraintTest, OrdinarySchemasAreFarFromTheBudget) {
  ordered_json properties = ordered_json::object();
  for (int i = 0; i < 40; ++i)
    properties[fmt::format("property_{}", i)] = {{"anyOf", {{{"type", "string"}}, {{"type", "null"}}}}};
  GrammarConstraint of = constraint({{"type", "object"}, {"properties", properties}});
  for (const char* text : {"{", "\"", "property_3", "\": ", "\"abc"}) {
    take(of, text);
    std::vector<float> logits(tokens_->vocabulary(), 0.0F);
    EXPECT_TRUE(of.mask(logits).ok()) << text;
  }
}

}  // namespace
}  // namespace loci
