#include "serve/completion_request.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace loci {
namespace {

using json = nlohmann::ordered_json;

const RequestLimits kLimits{.vocabulary = 1000, .context = 100};

CompletionRequest good(const std::variant<CompletionRequest, ApiError>& read) {
  if (const auto* error = std::get_if<ApiError>(&read)) ADD_FAILURE() << error->message;
  return std::holds_alternative<ApiError>(read) ? CompletionRequest() : std::get<CompletionRequest>(read);
}

TEST(CompletionRequest, DefaultsAreOpenAis) {
  const CompletionRequest chat =
      good(read_chat_request(json::parse(R"({"messages": [{"role": "user", "content": "a"}]})"), kLimits));
  EXPECT_EQ(chat.sampling.temperature, 1.0F);
  EXPECT_EQ(chat.sampling.top_p, 1.0F);
  EXPECT_EQ(chat.choices, 1u);
  EXPECT_FALSE(chat.max_tokens);
  EXPECT_FALSE(chat.stream);
  EXPECT_FALSE(chat.seeded);
  EXPECT_EQ(chat.attention, "");
}

TEST(CompletionRequest, EveryFieldArrives) {
  const CompletionRequest out = good(read_completion_request(json::parse(R"({
    "model": "m", "prompt": [[1, 2], "b"], "max_tokens": 5, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "min_p": 0.125, "n": 2,
    "stop": ["x", "y"], "seed": -1, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5, "logit_bias": {"7": -100},
    "logprobs": 2, "stream": true, "stream_options": {"include_usage": true}, "attention": "store=kv8", "cache_salt": "s", "task": "t",
    "ignore_eos": true, "user": "u", "echo": false, "best_of": 2})"),
                                                             kLimits));
  EXPECT_EQ(out.model, "m");
  ASSERT_EQ(out.prompts.size(), 2u);
  EXPECT_EQ(std::get<1>(out.prompts[0]), (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(std::get<0>(out.prompts[1]), "b");
  EXPECT_EQ(out.max_tokens, 5u);
  EXPECT_EQ(out.sampling.temperature, 0.5F);
  EXPECT_EQ(out.sampling.top_p, 0.25F);
  EXPECT_EQ(out.sampling.top_k, 3u);
  EXPECT_EQ(out.sampling.min_p, 0.125F);
  EXPECT_EQ(out.sampling.seed, UINT64_MAX);
  EXPECT_EQ(out.sampling.presence_penalty, 1.0F);
  EXPECT_EQ(out.sampling.frequency_penalty, -1.0F);
  EXPECT_EQ(out.sampling.repetition_penalty, 1.5F);
  ASSERT_EQ(out.sampling.logit_bias.size(), 1u);
  EXPECT_EQ(out.sampling.logit_bias[0].token, 7);
  EXPECT_EQ(out.choices, 2u);
  EXPECT_EQ(out.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(out.logprobs && out.stream && out.stream_usage && out.ignore_eos && out.seeded);
  EXPECT_EQ(out.top_logprobs, 2u);
  EXPECT_EQ(out.attention, "store=kv8");
  EXPECT_EQ(out.cache_salt, "s");
  EXPECT_EQ(out.task, "t");
}

TEST(CompletionRequest, NullsAreAsAbsent) {
  const CompletionRequest out = good(read_chat_request(
      json::parse(
          R"({"messages": [{"role": "user", "content": "a", "name": null}], "temperature": null, "stop": null, "max_tokens": null,
                      "stream": null, "logit_bias": null, "tools": null, "response_format": null, "attention": null, "n": null})"),
      kLimits));
  EXPECT_EQ(out.sampling.temperature, 1.0F);
}

TEST(CompletionRequest, PartsOfAContentAreJoined) {
  const CompletionRequest out = good(read_chat_request(
      json::parse(
          R"({"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]})"),
      kLimits));
  EXPECT_EQ(out.messages[0].role, "system");
  EXPECT_EQ(out.messages[0].content, "ab");
}

TEST(CompletionRequest, ErrorsNameTheField) {
  const auto param = [](const char* body) {
    const auto read = read_chat_request(json::parse(body), kLimits);
    return std::holds_alternative<ApiError>(read) ? std::get<ApiError>(read).param : "none";
  };
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "temperature": 3})"), "temperature");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}, {"role": "x"}]})"), "messages[1].role");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
            "messages[0].content[0].type");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "nonsense": 1})"), "nonsense");
  EXPECT_EQ(param(R"({"messages": [{"role": "user", "content": "a"}], "attention": "x="})"), "attention");
  // A plan of a request opens no file.
  const auto of_plan = [&](const std::string& plan) {
    const json body = {{"messages", {{{"role", "user"}, {"content", "a"}}}}, {"attention", plan}};
    return param(body.dump().c_str());
  };
  EXPECT_EQ(of_plan("retain=duo(profile=/etc/passwd)"), "attention");
  EXPECT_EQ(of_plan("mix=act(profile=/etc/passwd)@2"), "attention");
  EXPECT_EQ(of_plan("retain=duo(profile=auto)"), "none");
}

// What a model wrote comes back as it was: as JSON where it is some, as a string where it is none or too deep.
TEST(CompletionRequest, ArgumentsOfCallsComeBack) {
  const auto content = [](const std::string& arguments) {
    const json call = {{"id", "1"}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", arguments}}}};
    const json body = {{"messages",
                        {{{"role", "user"}, {"content", "a"}},
                         {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", json::array({call})}}}}};
    return good(read_chat_request(body, kLimits)).messages.at(1).content;
  };
  EXPECT_EQ(content(R"({"z": 1, "a": [2]})"),
            "<tool_call>\n{\"name\":\"f\",\"arguments\":{\"z\":1,\"a\":[2]}}\n</tool_call>");
  EXPECT_EQ(content("{oops"), "<tool_call>\n{\"name\":\"f\",\"arguments\":\"{oops\"}\n</tool_call>");
  const std::string deep = std::string(400'000, '[') + std::string(400'000, ']');
  EXPECT_EQ(content(deep), "<tool_call>\n{\"name\":\"f\",\"arguments\":\"" + deep + "\"}\n</tool_call>");
}

TEST(CompletionRequest, ResponsesAreChatsInOtherWords) {
  const CompletionRequest out =
      good(read_response_request(json::parse(R"({"instructions": "Be brief.", "max_output_tokens": 5, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "function_call_output", "call_id": "1", "output": "b"}],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}}})"),
                                 kLimits));
  ASSERT_EQ(out.messages.size(), 4u);
  EXPECT_EQ(out.messages[0].role, "system");
  EXPECT_EQ(out.messages[1].content, "a");
  EXPECT_EQ(out.messages[2].content, "<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</tool_call>");
  EXPECT_EQ(out.messages[3].role, "tool");
  EXPECT_EQ(out.max_tokens, 5u);
  EXPECT_EQ(out.tools[0]["function"]["name"], "f");
  EXPECT_TRUE(out.must_call());
  EXPECT_EQ(out.response_format["json_schema"]["schema"], json({{"type", "object"}}));
  const auto param = [](const char* body) {
    const auto read = read_response_request(json::parse(body), kLimits);
    return std::holds_alternative<ApiError>(read) ? std::get<ApiError>(read).param : "none";
  };
  EXPECT_EQ(param(R"({"input": "a"})"), "none");
  EXPECT_EQ(param(R"({})"), "input");
  EXPECT_EQ(param(R"({"input": []})"), "input");
  EXPECT_EQ(param(R"({"input": [{"type": "reasoning"}]})"), "input[0].type");
  EXPECT_EQ(param(R"({"input": "a", "previous_response_id": "resp_1"})"), "previous_response_id");
  EXPECT_EQ(param(R"({"input": "a", "messages": []})"), "messages");
  EXPECT_EQ(param(R"({"input": "a", "tools": [{"type": "web_search"}]})"), "tools[0].type");
}

TEST(CompletionRequest, AnObjectOfVeryManyFieldsIsRefused) {
  json body = {{"prompt", "a"}};
  for (int i = 0; i < 300; ++i) body[fmt::format("f{}", i)] = 1;
  const auto read = read_completion_request(body, kLimits);
  ASSERT_TRUE(std::holds_alternative<ApiError>(read));
  EXPECT_NE(std::get<ApiError>(read).message.find("301 fields"), std::string::npos);
}

// Any JSON gives a request or an error.
TEST(CompletionRequest, RandomValuesInEveryField) {
  std::mt19937 random(11);
  const std::vector<std::string> names = {"model",
                                          "prompt",
                                          "messages",
                                          "input",
                                          "text",
                                          "temperature",
                                          "top_p",
                                          "n",
                                          "stop",
                                          "seed",
                                          "logit_bias",
                                          "logprobs",
                                          "top_logprobs",
                                          "stream",
                                          "stream_options",
                                          "attention",
                                          "response_format",
                                          "tools",
                                          "tool_choice",
                                          "max_tokens",
                                          "max_completion_tokens",
                                          "echo",
                                          "suffix"};
  const std::vector<json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    1e300,
                                    INT64_MIN,
                                    UINT64_MAX,
                                    "",
                                    "a",
                                    json::array(),
                                    json::object(),
                                    json::array({json::array({json::array()})}),
                                    {{"type", "json_schema"}},
                                    {{"role", "user"}},
                                    json::array({{{"role", "user"}, {"content", "a"}}}),
                                    {{"include_usage", 3}},
                                    std::string(10000, 'x')};
  for (int i = 0; i < 3000; ++i) {
    json body = json::object();
    for (const std::string& name : names) {
      if (random() % 3 == 0) body[name] = values[random() % values.size()];
    }
    for (const auto& read : {read_chat_request(body, kLimits), read_completion_request(body, kLimits),
                             read_response_request(body, kLimits)}) {
      if (const auto* error = std::get_if<ApiError>(&read)) {
        EXPECT_EQ(error->status, 400);
        EXPECT_FALSE(error->message.empty());
        EXPECT_FALSE(json::parse(error->json()).empty());
      }
    }
  }
}

}  // namespace
}  // namespace loci
