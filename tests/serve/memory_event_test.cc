#include "serve/memory_event.h"

#include <gtest/gtest.h>

#include "serve/completion_request.h"

namespace loci {
namespace {

using json = nlohmann::ordered_json;

std::variant<CompletionRequest, ApiError> read_asking(const char* memory, bool stream = true) {
  return read_completion_request({{"prompt", "a"}, {"stream", stream}, {"memory", json::parse(memory)}},
                                 {.vocabulary = 1000, .context = 100});
}

TEST(MemoryField, IsReadWithItsDefaults) {
  const auto asked = std::get<CompletionRequest>(read_asking(R"({"every": 3, "stretches": 64})")).memory;
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->every, 3u);
  EXPECT_EQ(asked->stretches, 64u);
  const auto plain = std::get<CompletionRequest>(read_asking("{}")).memory;
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->every, 16u);
  EXPECT_EQ(plain->stretches, 0u);
  EXPECT_FALSE(std::get<CompletionRequest>(read_asking("null")).memory);
}

TEST(MemoryField, WhatIsWrongIsNamed) {
  EXPECT_EQ(std::get<ApiError>(read_asking(R"({"every": 0})")).param, "memory.every");
  EXPECT_EQ(std::get<ApiError>(read_asking(R"({"stretches": 257})")).param, "memory.stretches");
  EXPECT_EQ(std::get<ApiError>(read_asking(R"({"of": "alice"})")).param, "memory.of");
  EXPECT_EQ(std::get<ApiError>(read_asking("true")).param, "memory");
  EXPECT_EQ(std::get<ApiError>(read_asking("{}", false)).param, "memory");
}

TEST(MemoryEvent, TellsSharesInPercent) {
  MemoryPicture picture{.tokens = 100, .prompt_tokens = 90, .kv_bytes = 4096, .heads = {}};
  picture.heads.push_back({.layer = 2, .kv_heads = {0, 3}, .kept = 50, .bytes = 4096, .where = {1.0F, 0.004F, 0.5F}});
  const auto event = memory_json(1, picture);
  EXPECT_EQ(event["index"], 1);
  EXPECT_EQ(event["tokens"], 100);
  EXPECT_EQ(event["heads"],
            nlohmann::ordered_json::parse(
                R"([{"layer": 2, "kv_heads": [0, 3], "kept": 50, "bytes": 4096, "where": [100, 0, 50]}])"));
}

}  // namespace
}  // namespace loci
