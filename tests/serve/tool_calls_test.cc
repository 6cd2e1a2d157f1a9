#include "serve/tool_calls.h"

#include <gtest/gtest.h>

namespace loci {
namespace {

using json = nlohmann::ordered_json;

const json kTools = json::parse(
    R"([{"type": "function", "function": {"name": "weather"}}, {"type": "function", "function": {"name": "add"}}])");

TEST(ToolCalls, AreFoundInTagsAndAlone) {
  for (const char* text : {R"(<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>)",
                           R"({"name": "weather", "arguments": {"city": "Oslo"}})",
                           R"({"name": "weather", "parameters": {"city": "Oslo"}})",
                           "```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n```",
                           R"({"name": "weather", "arguments": "{\"city\":\"Oslo\"}"})"}) {
    const ToolCalls found = find_tool_calls(text, kTools, "x");
    ASSERT_EQ(found.calls.size(), 1u) << text;
    EXPECT_EQ(found.calls[0]["function"]["name"], "weather");
    EXPECT_EQ(json::parse(found.calls[0]["function"]["arguments"].get<std::string>()), json({{"city", "Oslo"}}))
        << text;
  }
}

TEST(ToolCalls, TextBeforeThemStays) {
  const ToolCalls found = find_tool_calls(
      "Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": "
      "\"}\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"add\"}\n</tool_call>",
      kTools, "x");
  EXPECT_EQ(found.content, "Let me see.");
  ASSERT_EQ(found.calls.size(), 2u);
  EXPECT_NE(found.calls[0]["id"], found.calls[1]["id"]);
  EXPECT_EQ(found.calls[1]["function"]["arguments"], "{}");
}

TEST(ToolCalls, OtherTextIsText) {
  for (const char* text : {"", "{", "{}", "a {b} c", R"({"name": "rm"})", R"({"name": 1})", R"({"name": "weather")",
                           "\"{\\\"name\\\": \\\"weather\\\"}\"", "{\"name\": \"wea"}) {
    const ToolCalls found = find_tool_calls(text, kTools, "x");
    EXPECT_TRUE(found.calls.empty()) << text;
    EXPECT_EQ(found.content, text);
  }
}

// Reading them costs no stack, however deep they nest.
TEST(ToolCalls, ThatAreTooDeepAreText) {
  const std::string deep = std::string(400'000, '[') + std::string(400'000, ']');
  const std::string text = R"({"name": "weather", "arguments": )" + deep + "}";
  const ToolCalls found = find_tool_calls(text, kTools, "x");
  EXPECT_TRUE(found.calls.empty());
  EXPECT_EQ(found.content, text);
}

}  // namespace
}  // namespace loci
