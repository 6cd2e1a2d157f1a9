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

TEST(BoundedJson, KeepsTheOrderOfKeysWhereAsked) {
  for (const char* text : {R"({"z":1,"a":{"y":[{"c":1,"b":2}],"x":null},"m":[]})", "[]", "7", R"([{"b":1},{"a":2}])"}) {
    const auto document = parse_bounded_ordered_json(text, "the text", {});
    ASSERT_TRUE(document.ok()) << document.error().message;
    EXPECT_EQ(document->dump(), text);
  }
  const auto twice = parse_bounded_ordered_json(R"({"a": 1, "b": {"a": 2, "c": 1}, "a": 3})", "the text", {});
  ASSERT_FALSE(twice.ok());
  EXPECT_THAT(twice.error().message, HasSubstr("has the key 'a' twice"));
}

// Keys are not looked for among all others.
TEST(BoundedJson, ManyOrderedKeysTakeNoLongTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"{}\":0", i == 0 ? "" : ",", i);
  const auto document =
      parse_bounded_ordered_json(text + "}", "the text", {.bytes = size_t{1} << 24, .values = 1'000'000});
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->size(), 200'000u);
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
