#include "io/bounded_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view text, JsonLimits limits = {}) {
  const auto document = parse_bounded_json(text, "the text", limits);
  return document.ok() ? "" : document.error().message;
}

TEST(BoundedJson, ReadsWhatTheParserReads) {
  for (const char* text : {R"({"a": [1, -2, 3.5, true, null, "x", {"b": {}}], "c": []})", "[]", "7", R"("text")",
                           R"([[1], [[2]], {"k": [3, {"k": 4}]}])"}) {
    const auto document = parse_bounded_json(text, "the text", {});
    ASSERT_TRUE(document.ok()) << document.error().message;
    EXPECT_EQ(*document, nlohmann::json::parse(text));
  }
}

TEST(BoundedJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "[1,]", "{\"a\" 1}", "nul", "[1] 2", "\"\xff\"", "{1: 2}", "1e999"}) {
    EXPECT_THAT(error_of(text), HasSubstr("the text is not JSON at byte")) << text;
  }
}

TEST(BoundedJson, RefusesDuplicateKeys) {
  EXPECT_THAT(error_of(R"({"a": 1, "b": {"a": 2}, "a": 3})"), HasSubstr("has the key 'a' twice"));
}

TEST(BoundedJson, KeepsItsLimits) {
  EXPECT_EQ(error_of("[[[]]]", {.depth = 3}), "");
  EXPECT_THAT(error_of("[[[[]]]]", {.depth = 3}), HasSubstr("deeper than the allowed 3 levels"));
  EXPECT_EQ(error_of("[1, 2]", {.values = 3}), "");
  EXPECT_THAT(error_of("[1, 2, 3]", {.values = 3}), HasSubstr("more than the allowed 3 values"));
  EXPECT_THAT(error_of("[{}, {}, {}]", {.values = 3}), HasSubstr("more than the allowed 3 values"));
  EXPECT_THAT(error_of("[1, 2]", {.bytes = 5}), HasSubstr("has 6 bytes, at most 5"));
  EXPECT_THAT(error_of(std::string(1'000'000, '[')), HasSubstr("deeper than the allowed 32 levels"));
}

}  // namespace
}  // namespace loci
